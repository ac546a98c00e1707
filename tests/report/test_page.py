"""The page as a function of the records."""

from __future__ import annotations

from pathlib import Path

from harness.leaderboard import page as leaderboard
from harness.leaderboard.page import files_of
from harness.leaderboard.view import Extent, view_of
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import boards_of


def test_the_page_is_small_and_asks_for_nothing(files: dict[str, bytes]) -> None:
    page = files["index.html"].decode()
    assert len(files["index.html"]) <= 3_000_000
    assert "unsafe-" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_an_altered_record_alters_the_page(tmp_path: Path) -> None:
    pages = []
    for name, notes in (("a", []), ("b", ["Run on a busy machine."])):
        cells = [Cell(network="enet", notes=notes)]
        results = factory.write_results(tmp_path / name / "results", cells)
        pages.append(leaderboard.render(results, figures=False)["index.html"])
    assert pages[0] != pages[1]


def test_a_page_without_figures_says_so_and_has_the_same_numbers(
    shown: Path, files: dict[str, bytes]
) -> None:
    plain = leaderboard.render(shown, figures=False)
    assert not any(name.endswith(".svg") for name in plain)
    text = plain["index.html"].decode()
    assert "made without figures" in text
    assert "figures/" not in text
    assert "made without figures" not in files["index.html"].decode()
    assert all(plain[name] == files[name] for name in leaderboard.EXPORTS)


def test_many_records_are_linked_and_not_described(tmp_path: Path) -> None:
    cells = [Cell(network=n, machine=m) for m in ("a", "b") for n in ("enet", "unet")]
    results = factory.write_results(tmp_path / "results", cells)
    boards = boards_of(results)

    def files(extent: Extent) -> dict[str, bytes]:
        return files_of([view_of(board, results, extent) for board in boards], results, link="../")

    whole = files(Extent(figures=False))
    brief = files(Extent(brief=True, whole=False))
    assert len(brief["index.html"]) < len(whole["index.html"])
    assert brief["leaderboard.csv"] == whole["leaderboard.csv"]
    page = brief["index.html"].decode()
    for described in ("Wall time", "Latency by batch size", "All numbers of this row"):
        assert described in whole["index.html"].decode()
        assert described not in page
    assert page.count("record.json") == 4
    assert f"--machine {boards[1].machine.name}" in page
    links = {part.split('"')[0] for part in page.split('href="') if part.startswith("figures/")}
    assert links
    assert links == {name for name in brief if name.endswith(".svg")}
