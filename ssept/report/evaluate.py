"""The accuracy of checkpoints as JSON, as tables for the terminal and as Markdown."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ssept.data.dataset import Cases, Dataset
from ssept.decide.evaluate import (
    FEWEST,
    METRICS,
    POPULARITY,
    Evaluation,
    differences,
    figures,
    groups,
)
from ssept.errors import SHOWN, one_line
from ssept.estimate import Estimate
from ssept.report.text import NOTHING, filled

SCHEMA = 1
FORMATS = {"table": "simple", "markdown": "github", "json": ""}
PROTOCOLS = {"full": "full ranking", "sampled": "100 negatives", "unknown": "user unknown"}
LEGEND = (
    "NDCG@10 and HR@10, each with its 95 % interval over users. Full ranking: the whole catalog, "
    "without the items of the user's history. 100 negatives: among 100 random unseen items, which "
    "does not compare with the full ranking. User unknown: the full ranking with every user "
    "scored as unknown."
)
TOO_FEW = f"{NOTHING}: no interval, because there are fewer than {FEWEST} targets."
LONGEST_NAME = 60  # characters of a file's name
HASH_DIGITS = 8  # of a file whose name others have too


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
        dataset: the data.
        cases: what was ranked.
        about: where the figures are from: data, split, command and machine.
    """
    parts = groups(dataset, cases)

    def of(*chosen: Evaluation) -> dict[str, Any]:
        return {ranks: _plain(figures(chosen, ranks)) for ranks in PROTOCOLS} | {
            "groups": {name: _plain(figures(chosen, "full", rows)) for name, rows in parts.items()}
        }

    def side(chosen: Sequence[Evaluation]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        each = [of(model) for model in chosen]
        return each, each[0] if len(each) == 1 else of(*chosen)

    own, mean = side(models)
    facts = {
        "schema": SCHEMA,
        **about,
        "cases": len(cases),
        "groups": {name: int(rows.sum()) for name, rows in parts.items()},
        "popularity": of(popularity),
        "models": [_one(model) | each for model, each in zip(models, own, strict=True)],
        "mean": mean,
        "against": [],
    }
    if against:
        others, facts["mean of against"] = side(against)
        facts["against"] = [_one(model) | each for model, each in zip(against, others, strict=True)]
        facts["difference"] = {
            ranks: _plain(differences(models, against, ranks)) for ranks in PROTOCOLS
        }
    return facts


def _one(model: Evaluation) -> dict[str, Any]:
    # What another program wrote into a file may hold NaN, which JSON has not.
    training = json.loads(json.dumps(model.training), parse_constant=lambda _: None)
    return {"file": model.name, "sha256": model.sha256, "training": training}


def _plain(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: each.as_json() for name, each in found.items()}


def accuracy_text(facts: Mapping[str, Any], form: str) -> str:
    """Write the facts in a format of FORMATS."""
    if form == "json":
        return json.dumps(facts, indent=2, allow_nan=False)
    named = _labels(facts)
    means = [(POPULARITY, facts["popularity"])]
    shown = [*means]
    for files, mean in (("models", "mean"), ("against", "mean of against")):
        shown += named[files]
        if len(named[files]) == 1:
            means += named[files]
        elif named[files]:
            means.append((f"{mean} ({len(named[files])})", facts[mean]))
            shown.append(means[-1])
    rows = [row for name, of in shown for row in _rows(name, of)]
    rows += _rows("difference", facts.get("difference", {}), "+.4f")
    by_group = [
        [group, f"{count:,}", *(_shown(of["groups"][group]["ndcg@10"]) for _, of in means)]
        for group, count in facts["groups"].items()
    ]
    columns = ["full ranking, NDCG@10", "targets", *(name for name, _ in means)]
    few = min(facts["groups"].values()) < FEWEST
    return "\n".join(
        (
            filled(_what(facts)),
            "",
            _table(rows, ["", "protocol", *map(str.upper, METRICS)], form),
            "",
            filled(LEGEND),
            "",
            _table(by_group, columns, form),
            *(["", TOO_FEW] if few else []),
        )
    )


def _what(facts: Mapping[str, Any]) -> str:
    """Say what was ranked: how many targets, of which data and split."""
    cases, targets = facts["cases"], facts["targets"]
    count = f"{targets:,}" if cases == targets else f"{cases:,} of {targets:,}"
    name, method = one_line(facts["data"]["name"], SHOWN), facts["method"] or "split as found"
    return f"{count} targets of {facts['split']}.csv of {name}, {one_line(method, SHOWN)}."


def _labels(facts: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Name the models of each side by their files, with the hash where others have that name."""
    files = [each["file"] for side in ("models", "against") for each in facts[side]]

    def label(each: Mapping[str, Any]) -> str:
        name = one_line(each["file"], LONGEST_NAME)
        if [POPULARITY, *files].count(each["file"]) == 1:
            return name
        return f"{name} ({each['sha256'][:HASH_DIGITS]})"

    return {side: [(label(each), each) for each in facts[side]] for side in ("models", "against")}


def _rows(name: str, of: Mapping[str, Any], form: str = ".4f") -> list[list[str]]:
    """Return a row for each protocol that has figures; only the first has the name."""
    rows = [
        [title, *(_shown(of[ranks][metric], form) for metric in METRICS)]
        for ranks, title in PROTOCOLS.items()
        if of.get(ranks)
    ]
    return [[name if row == rows[0] else "", *row] for row in rows]


def _shown(value: Mapping[str, float | None], form: str = ".4f") -> str:
    low, high = (
        NOTHING if value[end] is None else f"{value[end]:{form}}" for end in ("low", "high")
    )
    return f"{value['value']:{form}} [{low}, {high}]"


def _table(rows: list[list[str]], head: list[str], form: str) -> str:
    return tabulate(rows, head, tablefmt=FORMATS[form], disable_numparse=True)
