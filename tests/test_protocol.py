"""Protocols: strict, hashed, and with an answer to a wrong key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from harness.data.augmentation_levels import LEVELS
from harness.errors import UsageError
from harness.protocol import Augmentation, Protocol, available, load_protocol, parse_protocol


@pytest.mark.parametrize("name", available())
def test_every_protocol_that_we_ship_loads_under_its_name(name: str) -> None:
    assert load_protocol(name).name == name


def test_the_paper_protocol_is_the_papers() -> None:
    paper = load_protocol("paper")
    assert (paper.input.height, paper.input.width) == (256, 256)
    training = paper.training
    assert (training.loss, training.batch_size, training.epochs) == ("dice", 8, 100)
    assert (training.learning_rate, training.decay, training.decay_steps) == (1e-4, 0.9, 2000)
    assert training.validation_by == "subject"
    assert training.validation_share == 0.2
    assert training.augmentation == "none"
    assert training.weights_from == "own"
    assert not paper.limits.share_process


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'training.lerning_rate'.*'learning_rate'"):
        parse_protocol({"name": "x", "training": {"lerning_rate": 1e-3}}, "x.toml")


def test_an_unknown_key_of_an_override_is_an_error_too() -> None:
    with pytest.raises(UsageError, match=r"networks.unet.los.*'loss'"):
        parse_protocol({"name": "x", "networks": {"unet": {"los": "dice"}}}, "x.toml")


@pytest.mark.parametrize(
    "tables",
    [
        {"training": {"augmentation": "basic"}},
        {"networks": {"unet": {"augmentation": "strong"}}},
    ],
)
def test_augmentation_and_normalisation_over_pixels_exclude_each_other(
    tables: dict[str, object],
) -> None:
    with pytest.raises(UsageError, match=r"x\.toml: training\.augmentation leaves"):
        parse_protocol(
            {"name": "x", "input": {"normalisation": "per_pixel_std"}} | tables, "x.toml"
        )
    assert parse_protocol({"name": "x"} | tables, "x.toml")


def test_strengths_replace_a_levels_by_name() -> None:
    training = {"augmentation": "domain", "strengths": {"structures": 0.9}}
    protocol = parse_protocol({"name": "x", "training": training}, "x.toml")
    assert protocol.training.strengths == {"structures": 0.9}
    plain = parse_protocol({"name": "x", "training": {"augmentation": "domain"}}, "x.toml")
    assert protocol.hash != plain.hash


@pytest.mark.parametrize(
    ("training", "answer"),
    [
        ({"augmentation": "domain", "strengths": {"structure": 0.9}}, "did you mean 'structures'"),
        ({"augmentation": "domain", "strengths": {"noise": -1.0}}, "greater than or equal to 0"),
        ({"strengths": {"noise": 0.1}}, "there is none"),
    ],
)
def test_wrong_strengths(training: dict[str, object], answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        parse_protocol({"name": "x", "training": training}, "x.toml")


@pytest.mark.parametrize(
    ("window", "answer"), [(100, "not a multiple of 64"), (320, "slices are 256 pixels")]
)
def test_wrong_windows(window: int, answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        parse_protocol({"name": "x", "training": {"window": window}}, "x.toml")


def test_an_override_holds_for_its_network_alone() -> None:
    protocol = parse_protocol({"name": "x", "networks": {"unet": {"learning_rate": 5e-4}}}, "x")
    assert protocol.training_of("unet").learning_rate == 5e-4
    assert protocol.training_of("enet").learning_rate == 1e-4


def test_the_hash_covers_what_changes_figures_and_nothing_else() -> None:
    base = parse_protocol({"name": "x"}, "x")
    same = parse_protocol(
        {"name": "x", "description": "said otherwise", "grid": {"seeds": [4]}}, "x"
    )
    other = parse_protocol({"name": "x", "training": {"epochs": 99}}, "x")
    assert base.hash == same.hash
    assert base.hash != other.hash


@pytest.mark.parametrize("size", [100, 0, -64, 65])
def test_sides_are_multiples_of_64(size: int) -> None:
    with pytest.raises(UsageError, match=f"width {size} is not a multiple of 64"):
        parse_protocol({"name": "x", "input": {"width": size}}, "x.toml")


def test_a_misspelt_protocol_gets_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean 'smoke'"):
        load_protocol("smok")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("name = ")
    with pytest.raises(UsageError, match=r"mine\.toml: is not TOML"):
        load_protocol(str(path))


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match=r"training.learning_rate.*greater than 0"):
        parse_protocol({"name": "x", "training": {"learning_rate": 0}}, "x.toml")


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"networks": {"rfbnet": {}}}, "unknown network 'rfbnet': did you mean 'rfbsnet'?"),
        ({"networks": {"U-Net": {"epochs": 1}}}, "networks: 'U-Net' is called 'unet' here."),
        ({"grid": {"networks": ["rfbnet"]}}, "did you mean 'rfbsnet'?"),
        ({"grid": {"backends": ["trch"]}}, "did you mean 'torch'?"),
        ({"training": {"augmentation": "bsic"}}, "(got 'bsic'); did you mean 'basic'?"),
        ({"training": {"loss": "dise"}}, "(got 'dise'); did you mean 'dice'?"),
        ({"networks": {"unet": {"augmentation": "bsic"}}}, "did you mean 'basic'?"),
        ({"measuring": {"plans": {"trch": ["eager"]}}}, "did you mean 'torch'?"),
        ({"measuring": {"plans": {"jax": ["aot"]}}}, "'jax' is called 'flax' here."),
        ({"measuring": {"plans": {"torch": ["egaer"]}}}, "did you mean 'eager'?"),
        ({"measuring": {"batches": [0]}}, "measuring.batches.0: input should be greater than"),
        ({"measuring": {"batches": []}}, "measuring.batches: array should have at least 1 item"),
        ({"measuring": {"quantities": []}}, "measuring.quantities: array should have at least"),
        ({"evaluation": {"sets": []}}, "evaluation.sets: array should have at least 1 item"),
        ({"grid": {"seeds": [-1]}}, "grid.seeds.0: input should be greater than or equal to 0"),
        ({"grid": {"seeds": []}}, "grid.seeds: array should have at least 1 item"),
        ({"grid": {"seeds": [True]}}, "grid.seeds.0: input should be a valid integer"),
        ({"training": {"epochs": "3"}}, "training.epochs: input should be a valid integer"),
        ({"training": 3}, "training: input should be a valid dictionary"),
    ],
)
def test_what_would_change_nothing_or_break_later_is_refused(
    tables: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_protocol({"name": "x"} | tables, "x.toml")
    assert str(caught.value).startswith("x.toml: ")
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_name_is_said_to_be_missing() -> None:
    with pytest.raises(UsageError, match=r"^x\.toml: name is missing\.$"):
        parse_protocol({}, "x.toml")


def test_the_levels_of_augmentation_are_those_that_there_are() -> None:
    assert get_args(Augmentation) == ("none", *LEVELS)


@pytest.mark.parametrize("name", available())
def test_a_protocol_comes_back_from_a_job_and_from_a_record(name: str) -> None:
    protocol = load_protocol(name)
    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol
    assert Protocol.model_validate(protocol.model_dump(mode="json")) == protocol


def test_precision_changes_the_hash_and_the_default_does_not() -> None:
    plain = parse_protocol({"name": "x"}, "x.toml")
    said = parse_protocol({"name": "x", "training": {"precision": "float32"}}, "x.toml")
    other = parse_protocol({"name": "x", "training": {"precision": "bfloat16"}}, "x.toml")
    assert plain.hash == said.hash != other.hash
    override = {"name": "x", "networks": {"unet": {"precision": "bfloat16"}}}
    assert parse_protocol(override, "x.toml").hash not in (plain.hash, other.hash)
    with pytest.raises(UsageError, match=r"training\.precision.*'float16'"):
        parse_protocol({"name": "x", "training": {"precision": "float16"}}, "x.toml")
