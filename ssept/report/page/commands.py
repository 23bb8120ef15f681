"""Commands that measure a figure again."""

import shlex
from collections.abc import Iterable, Sequence

from ssept.report.page.material import LabelledRun
from ssept.results.conditions import packages
from ssept.results.schema import Benchmark, Facts, ServedRate, Timed

# Which environment of tox a run of the matrix came from, by the onnxruntime that it had.
ENVIRONMENTS = {"onnxruntime-openvino": "bench", "onnxruntime-gpu": "cuda", "onnxruntime": "cpu"}
WITHOUT_TORCH = "edge"


def matrix_command(run: LabelledRun, benchmarks: Sequence[Benchmark], tests: str) -> str:
    """Return a command that measures some benchmarks of a run again.

    Args:
        run: where they are from.
        benchmarks: one at least.
        tests: an expression of `-k` that takes their tests and no others.
    """
    facts = [each.extra_info for each in benchmarks]
    timed = [each for each in facts if isinstance(each, Timed)]
    words = [
        _option("variants", (each.variant for each in facts)),
        _option("providers", (each.provider for each in facts)),
        _option("batch-sizes", (each.batch for each in timed)),
        _option("threads", (each.threads for each in facts), default="1"),
        _option("call", (each.call for each in timed if each.call), default="recommend"),
        *_provider_options(facts),
    ]
    chosen = [word for word in words if word]
    return shlex.join(["tox", "-e", _environment(run), "--", *chosen, "-k", tests])


def served_command(benchmarks: Sequence[Benchmark]) -> str:
    """Return a command that measures the model behind servers again."""
    on_fastapi = any(each.extra_info.provider == "fastapi" for each in benchmarks)
    tests = dict.fromkeys(each.name.partition("[")[0] for each in benchmarks)
    words = ["fastapi", "--", "--triton"] if on_fastapi else ["triton", "--"]
    return shlex.join(["tox", "-e", *words, "-k", " or ".join(tests)])


def rates_command(rates: Sequence[ServedRate]) -> str:
    """Return a command that compares servers again."""
    options = (
        _option("servers", (each.server for each in rates)),
        f"--p99-ms={rates[0].limit_ms:g}",
    )
    return shlex.join(["tox", "-e", "servers", "--", *options])


def _option(name: str, values: Iterable[object], default: str = "") -> str:
    text = ",".join(dict.fromkeys(map(str, values)))
    return "" if text in ("", default) else f"--{name}={text}"


def _provider_options(facts: Iterable[Facts]) -> list[str]:
    return [
        *dict.fromkeys(
            f"--provider-option={each.provider}.{name}={value}"
            for each in facts
            for name, value in each.options.items()
        )
    ]


def _environment(run: LabelledRun) -> str:
    installed = packages(run.run)
    if installed and "torch" not in installed:
        return WITHOUT_TORCH
    found = (name for package, name in ENVIRONMENTS.items() if package in installed)
    return next(found, "bench")
