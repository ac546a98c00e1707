"""What a tuning leaves: a protocol with the chosen rates, and every trial as JSON."""

from __future__ import annotations

from typing import Any

from harness.protocol import Protocol, parse_protocol
from harness.records.provenance import fetalbench_version
from harness.run.protocol_text import as_toml
from harness.run.tuning import Result, Search, Trial


def protocol_of(search: Search, result: Result, name: str, command: str) -> tuple[Protocol, str]:
    """The protocol with the chosen rates, named `name`, and its text with their origin."""
    protocol = search.template.protocol
    data: dict[str, Any] = protocol.model_dump()
    remarks: dict[tuple[str, ...], str] = {
        (): (
            f"Learning rates chosen by: {command}\n"
            f"from protocol {protocol.name} ({protocol.hash[:8]}) on data set "
            f"{search.dataset.name} ({search.dataset.hash[:8]}), {search.backend}, seed "
            f"{search.seed}, fetalbench {fetalbench_version()}.\n"
            f"Successive halving of {', '.join(f'{rate:g}' for rate in search.rates)} on "
            "validation Dice, the same for every network; every trial is in the .tuning.json file."
        )
    }
    for network, trial in result.chosen.items():
        if trial is None:
            continue
        own = data["networks"].setdefault(network, {})
        own["learning_rate"] = trial.rate
        remarks["networks", network, "learning_rate"] = (
            f"validation Dice {trial.dice:.4f} in {trial.epochs} epochs"
        )
    data["name"] = name
    chosen = parse_protocol(data, name)
    return chosen, as_toml(chosen, remarks)


def as_json(search: Search, result: Result, command: str) -> dict[str, Any]:
    """Everything that the choice rests on; the same search gives the same content."""
    protocol = search.template.protocol
    return {
        "fetalbench": fetalbench_version(),
        "command": command,
        "protocol": {"name": protocol.name, "hash": protocol.hash},
        "dataset": {"name": search.dataset.name, "hash": search.dataset.hash},
        "machine": search.template.machine,
        "device": search.template.device,
        "backend": search.backend,
        "seed": search.seed,
        "rates": list(search.rates),
        "epochs": search.epochs,
        "chosen": {
            name: trial and {"learning_rate": trial.rate, "validation_dice": trial.dice}
            for name, trial in result.chosen.items()
        },
        "trials": [_row(trial) for trial in result.trials],
    }


def _row(trial: Trial) -> dict[str, Any]:
    training = trial.record.training
    return {
        "network": trial.network,
        "learning_rate": trial.rate,
        "epochs": trial.epochs,
        "status": trial.record.status,
        "reason": trial.record.reason,
        "best_validation_dice": trial.dice,
        "best_epoch": training.best_epoch if training else None,
        "seconds": trial.record.seconds,
        "protocol_hash": trial.record.key.protocol_hash,
        "command": trial.record.command,
    }
