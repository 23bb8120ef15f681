"""The accuracy of checkpoints as JSON, as tables for the terminal and as Markdown."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ssept.data.dataset import Cases, Dataset
from ssept.decide.evaluate import METRICS, Evaluation, differences, figures, groups
from ssept.estimate import Estimate
from ssept.report.text import filled

SCHEMA = 1
FORMATS = {"table": "simple", "markdown": "github", "json": ""}
PROTOCOLS = {"full": "full ranking", "sampled": "100 negatives", "unknown": "user unknown"}
LEGEND = (
    "NDCG@10 and HR@10, each with its 95 % interval over users. Full ranking: the whole catalog, "
    "without the items of the user's history. 100 negatives: among 100 random unseen items, which "
    "does not compare with the full ranking. User unknown: the full ranking with every user "
    "scored as unknown."
)


def accuracy_facts(
    popularity: Evaluation,
    models: Sequence[Evaluation],
    against: Sequence[Evaluation],
    dataset: Dataset,
    cases: Cases,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather what is reported, as plain JSON values.

    Args:
        popularity: the ranks by popularity alone.
        models: those of the checkpoints.
        against: those of checkpoints to compare with; may be empty.
        dataset, cases: what was ranked.
        about: where the figures are from: data, split, command and machine.
    """
    parts = groups(dataset, cases)

    def of(*chosen: Evaluation) -> dict[str, Any]:
        return {ranks: _plain(figures(chosen, ranks)) for ranks in PROTOCOLS} | {
            "groups": {name: _plain(figures(chosen, "full", rows)) for name, rows in parts.items()}
        }

    facts = {
        "schema": SCHEMA,
        **about,
        "cases": len(cases),
        "groups": {name: int(rows.sum()) for name, rows in parts.items()},
        "popularity": of(popularity),
        "models": [_one(each) | of(each) for each in models],
        "mean": of(*models),
        "against": [_one(each) | of(each) for each in against],
    }
    if against:
        facts["mean of against"] = of(*against)
        facts["difference"] = {
            ranks: _plain(differences(models, against, ranks)) for ranks in PROTOCOLS
        }
    return facts


def _one(model: Evaluation) -> dict[str, Any]:
    return {"file": model.name, "sha256": model.sha256, "training": model.training}


def _plain(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: each.as_json() for name, each in found.items()}


def accuracy_text(facts: Mapping[str, Any], form: str) -> str:
    """Write the facts in a format of FORMATS."""
    if form == "json":
        return json.dumps(facts, indent=2, allow_nan=False)
    means = {"popularity": facts["popularity"]}
    shown = dict(means)
    for files, mean in (("models", "mean"), ("against", "mean of against")):
        count = len(facts[files])
        shown |= {each["file"]: each for each in facts[files]}
        if count == 1:
            means[facts[files][0]["file"]] = facts[mean]
        elif count:
            shown[f"{mean} ({count})"] = means[f"{mean} ({count})"] = facts[mean]
    rows = [row for name, of in shown.items() for row in _rows(name, of)]
    rows += _rows("difference", facts.get("difference", {}), "+.4f")
    method, name = facts["method"] or "split as found", facts["data"]["name"]
    by_group = [
        [group, f"{count:,}", *(_shown(of["groups"][group]["ndcg@10"]) for of in means.values())]
        for group, count in facts["groups"].items()
    ]
    return "\n".join(
        (
            filled(f"{facts['cases']:,} targets of {facts['split']}.csv of {name}, {method}."),
            "",
            _table(rows, ["", "protocol", *map(str.upper, METRICS)], form),
            "",
            filled(LEGEND),
            "",
            _table(by_group, ["full ranking, NDCG@10", "targets", *means], form),
        )
    )


def _rows(name: str, of: Mapping[str, Any], form: str = ".4f") -> list[list[str]]:
    """Return a row for each protocol that has figures; only the first has the name."""
    rows = [
        [title, *(_shown(of[ranks][metric], form) for metric in METRICS)]
        for ranks, title in PROTOCOLS.items()
        if of.get(ranks)
    ]
    return [[name if row == rows[0] else "", *row] for row in rows]


def _shown(value: Mapping[str, float], form: str = ".4f") -> str:
    low, high = (f"{value[end]:{form}}" for end in ("low", "high"))
    return f"{value['value']:{form}} [{low}, {high}]"


def _table(rows: list[list[str]], head: list[str], form: str) -> str:
    return tabulate(rows, head, tablefmt=FORMATS[form], disable_numparse=True)
