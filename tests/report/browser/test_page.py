"""The page as its readers meet it: in a real browser, from the file system, offline."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from harness.leaderboard import page as leaderboard
from harness.leaderboard.output import write
from tests.report import factory
from tests.report.conftest import Opener

# A network has one line; its builds stand below it.
ROWS = "table.leaderboard tr.line"
BUILDS = "table.leaderboard tr.build"


def names(page: Page) -> list[str]:
    """The networks of the visible rows, top down."""
    return page.locator(f"{ROWS}:visible th.name > :first-child").all_inner_texts()


def numbers(page: Page, key: str) -> list[float]:
    """The numbers of a column, top down, rows without one left out."""
    cells = page.locator(f"{ROWS} td.c-{key}[data-v]")
    return [float(cell.get_attribute("data-v") or "nan") for cell in cells.all()]


def test_opens_without_a_request_or_a_complaint(open_page: Opener) -> None:
    page = open_page()
    assert page.locator(ROWS).count() == len(set(names(page)))
    assert not page.locator(BUILDS).first.is_visible()
    assert page.locator("svg.plot").count() >= 5
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_policy_blocks_what_is_not_ours(open_page: Opener) -> None:
    page = open_page(watched=False)
    ran = page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.intruder = true";
          document.addEventListener("securitypolicyviolation", (event) => {
            window.blocked = event.violatedDirective;
          });
          document.body.append(script);
          const answer = () => [window.intruder === true, window.blocked];
          return new Promise((done) => setTimeout(() => done(answer()), 50));
        }"""
    )
    assert ran[0] is False
    assert ran[1].startswith("script-src")


def test_sorts_by_a_column_both_ways(open_page: Opener) -> None:
    page = open_page()
    header = page.locator("thead th.c-end_to_end_p50_ms")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert numbers(page, "end_to_end_p50_ms") == sorted(numbers(page, "end_to_end_p50_ms"))
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    found = numbers(page, "end_to_end_p50_ms")
    assert found == sorted(found, reverse=True)
    assert names(page)[-1] in {"SegNet", "ENet", "U-Net"}, "rows without a figure stay last"


def test_filters_by_text_and_backend(open_page: Opener) -> None:
    page = open_page()
    page.locator(".filter-text").fill("enet")
    assert names(page) == ["ENet"]
    page.locator(".filter-backend").select_option("PyTorch")
    assert names(page) == ["ENet"]
    total = page.locator(ROWS).count()
    assert page.locator(".count").inner_text() == f"1 of {total} networks, 1 builds"
    page.locator(".filter-backend").select_option("")
    page.locator(".filter-text").fill("aot")
    assert names(page), "the filter searches plans, too"
    page.reload()
    assert page.locator(".filter-text").input_value() == "aot", "the address keeps the filter"


def test_columns_can_be_chosen(open_page: Opener) -> None:
    page = open_page()
    cell = page.locator("td.c-normal_iou").first
    assert not cell.is_visible()
    page.locator(".chooser summary").click()
    page.locator(".choose-normal_iou").check()
    assert cell.is_visible()


def test_copies_what_is_seen(open_page: Opener) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.locator(".filter-text").fill("threshold")
    for name, start in (("csv", '"Network",'), ("markdown", "| Network |"), ("latex", "\\begin")):
        page.locator(f"[data-copy={name}]").click()
        page.wait_for_function("navigator.clipboard.readText().then((t) => t.length > 0)")
        text = page.evaluate("navigator.clipboard.readText()")
        assert text.startswith(start)
        assert "Threshold (Otsu)" in text
        assert "RFBSNet" not in text


def test_keyboard_sorts_and_opens_details(open_page: Opener) -> None:
    page = open_page()
    page.locator("thead th.name button").focus()
    page.keyboard.press("Enter")
    assert names(page)[0] == "ENet"
    link = page.locator("a.open-details").first
    link.focus()
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    assert panel.is_visible()
    assert "fetalbench run" in panel.inner_text()
    assert "record.json" in (panel.locator("dd a").first.get_attribute("href") or "")
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    assert link.evaluate("(link) => link === document.activeElement")


def test_every_control_is_reached_by_tab(open_page: Opener) -> None:
    page = open_page()
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("document.activeElement.className || document.activeElement.tagName")
        )
    assert {"skip", "filter-text", "filter-backend", "filter-plan"} <= seen


def test_readable_without_scripts(open_page: Opener) -> None:
    page = open_page(java_script_enabled=False)
    assert page.locator(ROWS).first.is_visible()
    assert not page.locator(".toolbar").first.is_visible()
    assert page.locator("svg.plot").first.is_visible()
    page.locator(".chooser summary").click()
    page.locator(".choose-normal_subject_dice").uncheck()
    assert not page.locator("td.c-normal_subject_dice").first.is_visible()
    page.locator(".row-details summary").first.click()
    assert page.locator(".row-body pre").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_follows_the_colour_scheme(open_page: Opener, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    text, paper, plot = page.evaluate(
        """() => {
          const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
          const bright = (colour) => parts(colour).reduce((a, b) => a + b) / 3;
          const body = getComputedStyle(document.body);
          const label = getComputedStyle(document.querySelector(".plot text"));
          return [bright(body.color), bright(body.backgroundColor), bright(label.fill)];
        }"""
    )
    lighter = (paper > text + 100, paper > plot + 60)
    darker = (text > paper + 100, plot > paper + 60)
    assert (lighter if scheme == "light" else darker) == (True, True)


def test_the_page_itself_never_scrolls_sideways(open_page: Opener) -> None:
    page = open_page()
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for width in (360, 500, 700, 768, 1280, 2200):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width


def test_a_telephone_shows_the_first_number_beside_its_name(open_page: Opener) -> None:
    page = open_page(viewport={"width": 360, "height": 800})
    number = page.locator("table.leaderboard tbody td.num:visible").first.bounding_box()
    assert number
    assert number["x"] + number["width"] <= 360


def test_prints(open_page: Opener, tmp_path: Path) -> None:
    page = open_page()
    pdf = page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator(".toolbar").first.is_visible()
    assert page.locator("table.leaderboard").is_visible()
    too_wide = page.evaluate("document.querySelector('table.leaderboard').scrollWidth")
    assert too_wide <= 1280
    # On A4 landscape less its margins, with small print smaller than what it explains.
    page.set_viewport_size({"width": 1030, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1030
    size = "(selector) => parseFloat(getComputedStyle(document.querySelector(selector)).fontSize)"
    cell, small = (
        page.evaluate(size, s)
        for s in ("td.c-normal_subject_dice", "td.c-normal_subject_dice .flag")
    )
    assert small < cell


def test_scanner_choice_agrees_with_the_page_without_scripts(open_page: Opener) -> None:
    page = open_page()
    parts = (".chosen", ".refusals", ".picker-count")

    def said() -> list[str | None]:
        texts = [page.locator(part).text_content() for part in parts]
        return [" ".join((text or "").split()) for text in texts]

    before = said()
    assert page.locator(".chosen li:visible").count() >= 1
    page.locator(".limit-deadline").dispatch_event("input")
    assert said() == before
    page.locator(".limit-deadline").fill("0.001")
    assert page.locator(".candidates .qualifies").count() == 0
    page.locator(".limit-deadline").fill("-5")
    assert "a limit is a number from 0" in page.locator(".limit-error").inner_text()


def test_builds_open_below_their_network_without_scripts(open_page: Opener) -> None:
    page = open_page(java_script_enabled=False)
    assert not page.locator(BUILDS).first.is_visible()
    body = page.locator("tbody.network", has=page.locator("details.more")).first
    body.locator(".more summary").click()
    assert body.locator("tr.build").first.is_visible()


def test_the_copied_table_holds_numbers(open_page: Opener) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.locator("[data-copy=csv]").click()
    page.wait_for_function("navigator.clipboard.readText().then((t) => t.length > 0)")
    first = page.evaluate("navigator.clipboard.readText()").splitlines()[1]
    cells = next(csv.reader([first]))[2:]
    assert any(cells)
    assert all(cell == "" or float(cell) == float(cell) for cell in cells)


def test_the_theme_is_kept(open_page: Opener) -> None:
    page = open_page()
    page.locator("#theme").click()
    page.reload()
    assert page.locator("#theme").inner_text() == "Theme: light"


def test_one_board_at_a_time(open_page: Opener, tmp_path: Path) -> None:
    cells = [
        factory.Cell(network="rfbsnet"),
        factory.Cell(network="unet"),
        factory.Cell(network="rfbsnet", machine="another-machine"),
        factory.Cell(network="enet", protocol_hash="f" * 64),
    ]
    results = factory.write_results(tmp_path / "results", cells)
    write(leaderboard.render(results, figures=False), tmp_path / "reports")
    page = open_page(tmp_path / "reports" / "index.html")
    choice = page.locator("#board-choice")
    assert choice.locator("option").count() == 3
    assert page.locator(".board:visible").count() == 1
    assert sorted(names(page)) == ["RFBSNet", "U-Net"]
    for index, expected in ((1, 1), (2, 1)):
        choice.select_option(index=index)
        assert page.locator(".board:visible").count() == 1
        assert len(names(page)) == expected
    plain = open_page(tmp_path / "reports" / "index.html", java_script_enabled=False)
    assert plain.locator(".board:visible").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(open_page: Opener, scheme: str) -> None:
    page = open_page(watched=False, color_scheme=scheme, bypass_csp=True)
    page.locator(".chooser summary").click()
    page.locator(".row-details summary").first.click()
    found = Axe().run(page).response["violations"]
    assert {v["id"]: [node["html"][:200] for node in v["nodes"][:3]] for v in found} == {}


HOSTILE = '<img src=x onerror="alert(1)">'


def test_hostile_text_is_inert(open_page: Opener, tmp_path: Path) -> None:
    cell = factory.Cell(
        network="rfbsnet",
        title=HOSTILE,
        notes=[f"</script></style>{HOSTILE}"],
        dataset={"title": HOSTILE, "warnings": [HOSTILE], "excluded": [{"case": HOSTILE}]},
    )
    broken = factory.Cell(network="enet", status="crashed", reason=f"'\"{HOSTILE}")
    results = factory.write_results(tmp_path / "results", [cell, broken])
    write(leaderboard.render(results, figures=False), tmp_path / "reports")
    page = open_page(tmp_path / "reports" / "index.html")
    assert HOSTILE in names(page)
    assert page.locator("img").count() == 0
    page.locator("a.open-details").first.click()
    assert page.locator("#panel img").count() == 0
