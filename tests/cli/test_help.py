"""Help, version and completion: what someone finds who types the first command."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.records.provenance import fetalbench_version

CHOICES = {
    ("plan",): ("auto|cpu|cuda",),
    ("run",): ("auto|cpu|cuda", "slurm|print"),
    ("compare",): ("normal|challenging", "network|backend"),
    ("measure",): ("quick|publish|mlperf", "auto|cpu|cuda"),
    ("stream",): ("haste|interactive|bursts",),
    ("export",): ("<onnx>",),
    ("data", "phantom"): ("tiny|paper|study",),
    ("data", "import"): ("subject|stack", "auto|bids|nifti|pairs|nnunet|arrays"),
}


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("words", [(), ("run",), ("data",), ("data", "import"), ("weights",)])
def test_h_is_help(words: tuple[str, ...]) -> None:
    assert "-h, --help" in said(*words, "-h")
    assert said(*words, "-h") == said(*words, "--help")


@pytest.mark.parametrize("words", CHOICES)
def test_help_lists_the_choices(words: tuple[str, ...]) -> None:
    text = re.sub(r"\s+", " ", said(*words, "--help"))
    for choices in CHOICES[words]:
        assert choices in text


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "--between", "networks"),
        ("compare", "--set", "easy"),
        ("export", "rfbsnet", "--to", "tflite"),
        ("stream", "rfbsnet", "--preset", "slow"),
        ("data", "import", ".", "--out", "x", "--form", "dicom"),
    ],
)
def test_another_choice_is_a_usage_error_that_lists_them(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 2
    assert f"'{words[-1]}' is not one of" in " ".join(done.output.split())


def test_version_is_an_option_too() -> None:
    assert said("--version") == f"fetalbench {fetalbench_version()}\n"


def test_the_shell_can_complete_commands() -> None:
    done = CliRunner().invoke(
        app,
        [],
        prog_name="fetalbench",
        env={
            "_FETALBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "fetalbench mea",
            "COMP_CWORD": "1",
        },
    )
    assert done.output.split() == ["measure"]
