"""Preparation of both sides before timing: their code imported, their models built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sides.side import Side
from ssept.decide.gate.workers.handle import WorkerError, WorkerPair
from ssept.errors import GateError

BASE, HEAD = ROLES = ("base", "head")
VariantOnProvider = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class SideModel:
    """What a side loads for a variant on a provider.

    Attributes:
        source: a folder of artifacts, a checkpoint or an ONNX file.
        file: the name of the model's file.
        sha256, size_bytes: of that file, and of those beside it that hold tensors of it.
        users, items, max_length: the sizes that its inputs are drawn from.
        data_hash: of the data set that it was trained on; empty if unknown.
    """

    source: str
    file: str
    sha256: str
    size_bytes: int
    users: int
    items: int
    max_length: int
    data_hash: str


@dataclass
class Prepared:
    """Both sides, ready to be measured.

    Attributes:
        sides: by role, "base" and "head".
        threads: that a call may use.
        models: by variant and provider, then by role.
        problems: why a variant on a provider cannot be compared.
        left_out: why one makes no sense on either side.
    """

    sides: Mapping[str, Side]
    threads: int
    models: dict[VariantOnProvider, dict[str, SideModel]] = field(default_factory=dict)
    problems: dict[VariantOnProvider, str] = field(default_factory=dict)
    left_out: dict[VariantOnProvider, str] = field(default_factory=dict)

    def request(self, role: str, variant: str, provider: str) -> dict[str, Any]:
        """Return the request with which a worker of a side loads a variant on a provider."""
        source = self.models[variant, provider][role].source
        return _request(source, *self.sides[role].runs(variant, provider), self.threads)


def prepare(
    base: Side,
    head: Side,
    wanted: Sequence[VariantOnProvider],
    *,
    checkpoint: Path | None,
    plan: GatePlan,
    threads: int = 1,
    optional: Sequence[str] = (),
) -> Prepared:
    """Build and load each variant on each provider once, on both sides.

    Args:
        base, head: what is compared.
        wanted: names of variants and providers.
        checkpoint: what variants are built from on a side without a model of its own.
        plan: for its time limits.
        threads: that a call may use.
        optional: providers that are left out, not a problem, where neither side has them.

    Raises:
        GateError: a side's code does not import, or comes from elsewhere than it should.
    """
    prepared = Prepared({BASE: base, HEAD: head}, threads)
    todo = _possible(prepared, wanted, optional, plan)
    sources = {role: str(side.model or checkpoint) for role, side in prepared.sides.items()}
    while todo:
        with WorkerPair(prepared.sides) as pair:
            while todo:
                requests = {
                    role: _request(source, *prepared.sides[role].runs(*todo[0]), threads)
                    for role, source in sources.items()
                }
                answers = pair.ask_both("prepare", plan.prepare_limit_s, requests)
                if not _keep(prepared, todo.pop(0), answers):
                    break  # a worker may be gone
    return prepared


def _request(source: str, variant: str, provider: str, threads: int) -> dict[str, Any]:
    return {"source": source, "variant": variant, "provider": provider, "threads": threads}


def _possible(
    prepared: Prepared, wanted: Sequence[VariantOnProvider], optional: Sequence[str], plan: GatePlan
) -> list[VariantOnProvider]:
    """Return what both sides can build; the reasons against the others go into `prepared`."""
    with WorkerPair(prepared.sides) as pair:
        _check_code(pair, plan)
        wishes = {
            role: {"wanted": [side.runs(*each) for each in wanted]}
            for role, side in prepared.sides.items()
        }
        answers = _both(pair, "support", plan.start_limit_s, wishes)
    possible = []
    for number, each in enumerate(wanted):
        support = {role: answers[role]["support"][number] for role in ROLES}
        # A side that runs another cell in place of each decides nothing about this one.
        asked = {role: of for role, of in support.items() if not prepared.sides[role].instead}
        reasons = {role: of["reason"] for role, of in support.items() if of["reason"]}
        if not all(support[role]["applicable"] for role in support.keys() - asked.keys()):
            prepared.problems[each] = "--base-cell: that provider does not run that variant"
        elif not any(of["applicable"] for of in asked.values()):
            prepared.left_out[each] = f"{each[1]} does not run files of {each[0]}"
        elif reasons.keys() >= asked.keys() and each[1] in optional:
            prepared.left_out[each] = reasons[HEAD]
        elif reasons:
            prepared.problems[each] = "; ".join(f"{role}: {why}" for role, why in reasons.items())
        else:
            possible.append(each)
    return possible


def _check_code(pair: WorkerPair, plan: GatePlan) -> None:
    """Check that each side imports its code from its own tree."""
    answers = _both(pair, "facts", plan.start_limit_s, {role: {} for role in ROLES})
    for role, worker in pair.workers.items():
        tree, imported = worker.side.tree, Path(answers[role]["ssept"])
        if tree and not imported.resolve().is_relative_to(tree.resolve()):
            raise GateError(f"{role}: its worker imports {imported}, not the ssept of {tree}")


def _both(
    pair: WorkerPair, do: str, seconds: float, requests: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the answers of both sides; raises the first error."""
    answers = pair.ask_both(do, seconds, requests)
    for answer in answers.values():
        if isinstance(answer, WorkerError):
            raise answer
    return answers


def _keep(prepared: Prepared, each: VariantOnProvider, answers: Mapping[str, Any]) -> bool:
    """Keep the models or the problem; returns whether both workers answered."""
    errors = [str(answer) for answer in answers.values() if isinstance(answer, WorkerError)]
    if errors:
        prepared.problems[each] = "; ".join(errors)
        return False
    models = {role: SideModel(**answer) for role, answer in answers.items()}
    sizes = {(model.users, model.items, model.max_length) for model in models.values()}
    if len(sizes) > 1:
        prepared.problems[each] = "; ".join(
            f"{role}: {model.users} users, {model.items} items, sequences of {model.max_length}"
            for role, model in models.items()
        )
        return True
    prepared.models[each] = models
    return True
