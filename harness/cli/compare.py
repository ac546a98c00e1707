"""`fetalbench compare`: every pair of networks, tested on subjects and put in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.options import DEFAULT_RESULTS, AsJson, Results, leave_if_unsound, print_rows

if TYPE_CHECKING:
    from harness.records.store import StoredRecord

COLUMNS = ("backend", "a", "b", "difference", "ci_low", "ci_high", "family_ci_low")
COLUMNS += ("family_ci_high", "t_p", "sign_flip_p", "wilcoxon_p", "p", "p_holm", "verdict")


def compare(
    results: Results = DEFAULT_RESULTS,
    metric: Annotated[
        str, typer.Option("--metric", help="dice, iou, nsd, hd95_mm, paper_dice ...")
    ] = "dice",
    set_name: Annotated[
        Literal["normal", "challenging"], typer.Option("--set", help="Test set.")
    ] = "normal",
    between: Annotated[
        Literal["network", "backend"],
        typer.Option("--between", help="Networks, or the backends of each network."),
    ] = "network",
    alpha: Annotated[float, typer.Option("--alpha", help="Family-wise error.")] = 0.05,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Half-width of equivalence: points (0.5), for HD95 mm."),
    ] = None,
    over: Annotated[
        Literal["brain", "alarms", "all"] | None,
        typer.Option(
            "--over",
            help="Slices: brain, alarms (these and false alarms), or all. Default: the metric's.",
        ),
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Name or start of the hash.")] = "",
    protocol: Annotated[str, typer.Option("--protocol", help="Name or start of the hash.")] = "",
    machine: Annotated[str, typer.Option("--machine", help="Name of a machine.")] = "",
    standings: Annotated[
        bool, typer.Option("--standings", help="Ranks and tiers instead of pairs.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Compare all pairs on subject means: paired t, sign-flip, Wilcoxon, Holm, the paper's.

    Records that are not what they say are left out and named; the exit code is 3 then.
    """
    from harness.records.selection import (
        choose,
        declared,
        declared_backends,
        lost_seeds_notes,
        slice_table,
        trainings,
        trainings_by_network,
    )
    from harness.records.store import survey
    from harness.statistics.comparison import compare as compare_scores
    from harness.statistics.comparison import margin_in_unit

    found = survey(results)
    stored = choose(found.records, dataset=dataset, protocol=protocol, machine=machine)
    if not stored:
        leave_if_unsound(found.left_out)
    comparison = compare_scores(
        slice_table(stored),
        metric,
        set_name,
        between=between,
        over=over,
        alpha=alpha,
        margin=margin_in_unit(margin, metric),
        contestants=declared(stored) if between == "network" else declared_backends(stored),
        trainings=trainings(stored) if between == "network" else trainings_by_network(stored),
        nsd_tolerance_mm=_nsd_tolerance_mm(stored),
    )
    rows = comparison.standing_rows() if standings else comparison.rows()
    if as_csv:
        import pandas as pd

        typer.echo(pd.DataFrame(rows).to_csv(index=False), nl=False)
    elif as_json or standings:
        print_rows(rows, as_json=as_json)
    else:
        _print_pairs(rows, comparison, between)
        for note in lost_seeds_notes(stored):
            typer.echo(f"Note: {note}")
    leave_if_unsound(found.left_out)


def _nsd_tolerance_mm(stored: list[StoredRecord]) -> float | None:
    return stored[0].protocol().evaluation.nsd_tolerance_mm if stored else None


def _print_pairs(rows: list[dict[str, Any]], comparison: Any, between: str) -> None:
    first = "backend" if between == "network" else "network"
    columns = [first, *COLUMNS[1:]]
    print_rows([{name: row[name] for name in columns} for row in rows], as_json=False)
    for sentence in comparison.sentences():
        typer.echo(f"- {sentence}")
    for family in comparison.families:
        for note in family.notes:
            typer.echo(f"Note ({family.within}): {note}")
