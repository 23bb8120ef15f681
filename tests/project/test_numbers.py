"""Numbers on the command line: one set of readers, which take no number that has no sense."""

import pytest

from ssept.cli import main

WHOLE = {
    ("data", "prepare", "raw", "out"): ("--min-user", "--min-item"),
    ("data", "synthetic", "out"): ("--users", "--items", "--seed"),
    ("build",): ("--jobs",),
    ("tune",): ("--batch",),
    ("gate", "a", "b"): ("--threads", "--accuracy-users", "--batch-sizes", "--trials"),
    ("scale",): ("--threads", "--items", "--lengths", "--batch-sizes", "--around"),
    ("sweep",): ("--threads", "--users", "--batch-sizes"),
    ("serve",): ("--port", "--workers", "--threads", "--sessions", "--max-batch", "--max-top-k"),
    ("triton", "repository", "out"): (
        "--top-k", "--version", "--max-batch-size", "--preferred-batch-sizes", "--queue-delay",
        "--instances", "--threads", "--gpus",
    ),
    ("triton", "serve", "models"): ("--ports",),
}  # fmt: skip
FRACTIONS = {
    ("data", "prepare", "raw", "out"): ("--min-rating",),
    ("tune",): ("--budget",),
    ("gate", "a", "b"): ("--seconds", "--tolerance", "--size-tolerance", "--max-minutes"),
    ("scale",): ("--cell-seconds",),
    ("sweep",): ("--seconds", "--max-loss"),
    ("doctor",): ("--seconds",),
    ("serve",): ("--max-wait-ms", "--deadline-ms"),
}
CASES = [
    (command, option, text)
    for table, texts in (
        (WHOLE, ("-1", "1.5", "nan", "inf", "x", "4_1", "9" * 30)),
        (FRACTIONS, ("nan", "inf", "-inf", "1e999", "x", "")),
    )
    for command, options in table.items()
    for option in options
    for text in texts
    if (option, text) != ("--gpus", "9" * 30)  # the numbers of GPUs are checked by the server
]


@pytest.mark.parametrize(
    ("command", "option", "text"), CASES, ids=lambda value: "".join(value)[:24]
)
def test_a_number_without_sense_is_refused_by_its_option(
    command: tuple[str, ...], option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, f"{option}={text}"])
    assert ended.value.code == (3 if command[0] in ("gate", "doctor") else 2)
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: " in said
    assert ": expected " in said
    assert len(said) < 300


@pytest.mark.parametrize("digits", [11, 5000])
def test_a_number_of_many_digits_is_cut(digits: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", f"--jobs={'9' * digits}"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(": expected a whole number from 1 to 2147483647")
    assert len(said) < 300
