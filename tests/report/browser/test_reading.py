"""What a reader does with the page beyond sorting: asks why, follows a network, changes limits."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from playwright.sync_api import Page

from harness.leaderboard import page as leaderboard
from harness.leaderboard.output import write
from tests.report import factory
from tests.report.conftest import Opener

# All rows: the line of a network, and its builds.
ROWS = "table.leaderboard tbody tr"


def lit(page: Page) -> set[str]:
    """The parts of the page, by their class or tag, in which a network is highlighted."""
    found = page.evaluate(
        """() => [...document.querySelectorAll(".lit")].map((mark) => {
          const part = mark.closest("table, .candidates, .claims, .plots");
          return part.className.replace(/ (spot|chosen|rest)/, "") + ":" + mark.dataset.network;
        })"""
    )
    return set(found)


def test_one_network_lights_up_everywhere(open_page: Opener) -> None:
    page = open_page()
    page.locator(f"{ROWS}[data-network=enet]").first.hover()
    found = lit(page)
    assert {part.partition(":")[2] for part in found} == {"enet"}
    assert {part.partition(":")[0] for part in found} >= {
        "leaderboard",
        "candidates",
        "matrix",
        "small standings",
        "small",
        "claims",
        "plots",
        "overlays",
        "",  # the paper's table
    }
    assert "spot" in (page.locator(".plots").first.get_attribute("class") or "")
    page.locator("h1").hover()
    assert lit(page) == set()
    page.locator(f"{ROWS}[data-network=unet] a.open-details").first.focus()
    assert {part.partition(":")[2] for part in lit(page)} == {"unet"}


def test_a_number_opens_its_record_and_its_command(open_page: Opener) -> None:
    page = open_page()
    page.locator(f"{ROWS}[data-network=enet] td.c-normal_subject_dice").first.click()
    panel = page.locator("#panel")
    assert panel.is_visible()
    text = panel.inner_text()
    assert "fetalbench run enet" in text
    assert "record.json" in (panel.locator("dd a").first.get_attribute("href") or "")
    assert re.search(r"\d+ queries, publish profile", text), "remarks that a tooltip would hide"
    panel.get_by_role("button", name="Close").click()
    assert not panel.is_visible()


def test_every_part_leads_to_the_records(open_page: Opener) -> None:
    page = open_page()
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for part in (".candidates", ".matrix", ".standings", ".claims", ".overlays", "table.small"):
        page.locator(f"{part} a.open-details").first.click()
        href = page.locator("#panel dd a").first.get_attribute("href")
        assert "record.json" in (href or ""), part
        page.keyboard.press("Escape")


def test_a_link_within_the_page_closes_the_panel(open_page: Opener) -> None:
    page = open_page()
    page.locator("a.open-details").first.click()
    page.locator('#panel a[href*="environment"]').first.click()
    assert not page.locator("#panel").is_visible()
    assert "environment" in page.evaluate("location.hash")


def test_why_a_value_is_missing_needs_no_mouse(open_page: Opener) -> None:
    page = open_page(java_script_enabled=False)
    row = page.locator("tr.line[data-network=enet]")
    page.locator(".chooser summary").click()
    page.locator(".choose-compile_ms").check()
    mark = row.locator("td.c-compile_ms .why-mark")
    mark.focus()
    page.keyboard.press("Enter")
    target = page.locator(".reasons li:target")
    assert target.inner_text() == "Nothing is compiled in advance."
    assert mark.get_attribute("aria-label") == "Why: nothing is compiled in advance"
    page.emulate_media(media="print")
    assert target.is_visible()


def test_copies_carry_no_marks(open_page: Opener) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.locator(".chooser summary").click()
    page.locator(".choose-compile_ms").check()
    page.locator(".filter-text").fill("enet")
    page.locator(".filter-backend").select_option("PyTorch")
    assert page.locator("tr.line:visible .why-mark:visible").count() >= 1
    page.locator("[data-copy=csv]").click()
    page.wait_for_function("navigator.clipboard.readText().then((t) => t.length > 0)")
    titles, row = csv.reader(page.evaluate("navigator.clipboard.readText()").splitlines()[:2])
    compiled = [cell for title, cell in zip(titles, row, strict=True) if "ompil" in title]
    assert compiled == [""]
    assert "–" not in "".join(row)


def test_the_theme_button_goes_round(open_page: Opener) -> None:
    page = open_page(color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    button = page.locator("#theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.inner_text(), page.evaluate(paper) == light))
    assert seen == [("Theme: light", True), ("Theme: dark", False), ("Theme: automatic", True)]


def test_filters_by_plan(open_page: Opener) -> None:
    page = open_page()
    page.locator(".filter-plan").select_option("aot")
    page.locator(".open-builds").click()
    plans = page.locator(
        "tr.build:visible td.plan, tbody:not(:has(.build)) tr.line:visible td.plan"
    )
    found = plans.all_inner_texts()
    assert found
    assert all("aot" in plan for plan in found)


def qualified(page: Page) -> int:
    return page.locator(".candidates .qualifies").count()


def test_each_limit_of_the_scanner_refuses_and_says_why(open_page: Opener) -> None:
    page = open_page()
    page.locator(".refusals summary").click()
    for name in ("deadline", "memory", "dice"):
        page.locator(f".limit-{name}").fill("")
    everyone = qualified(page)
    refused = page.locator(".candidates .refused .why")
    assert {"it has not been run yet", "out of memory"} <= {
        part
        for text in refused.all_text_contents()
        for part in ("it has not been run yet", "out of memory")
        if part in text
    }
    page.locator(".limit-memory").fill("190")
    assert 0 < qualified(page) < everyone
    assert "MiB" in page.locator(".rest").inner_text()
    page.locator(".limit-memory").fill("")
    page.locator(".limit-dice").fill("90")
    on_normal = qualified(page)
    assert 0 < on_normal < everyone
    page.locator(".limit-set").select_option("challenging")
    assert qualified(page) < on_normal
    assert "begins at" in page.locator(".rest").inner_text()


def test_slower_networks_are_said_to_be_slower(open_page: Opener) -> None:
    page = open_page()
    table = page.locator("section:has(> h2[id$=speed]) table")
    rows = table.locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["RFBSNet", "ENet", "U-Net"]
    assert rows[0].endswith("fastest median")
    assert all(row.endswith("slower") for row in rows[1:])
    low, high = rows[2].split("\t")[3].split("–")
    assert 1 < float(low) < float(rows[2].split("\t")[2]) < float(high)
    fastest = page.locator(".claims article", has_text="fastest network at batch size 1")
    assert "holds" in fastest.inner_text()
    assert "is faster than ENet" in fastest.inner_text()
    marks = page.locator('.plots g[data-network="unet"]')
    assert marks.count() >= 3, "the point, its label and the interval of its latency"
    spread = page.locator(".standings tbody tr").first.inner_text().split("\t")[-1]
    assert spread.startswith("±")


def test_an_address_opens_its_own_board(open_page: Opener, tmp_path: Path) -> None:
    """One board's id begins with another's."""
    cells = [factory.Cell(network="enet", machine=machine) for machine in ("gpu", "gpu-2")]
    results = factory.write_results(tmp_path / "results", cells)
    write(leaderboard.render(results, figures=False), tmp_path / "reports")
    page = open_page(tmp_path / "reports" / "index.html")
    ids = page.locator("#board-choice option").evaluate_all("(all) => all.map((o) => o.value)")
    for wanted in ids:
        page.goto("about:blank")
        page.goto("about:blank")
        page.goto(f"{(tmp_path / 'reports' / 'index.html').as_uri()}#{wanted}-table")
        assert page.locator(".board:visible").get_attribute("id") == wanted


def test_latex_is_escaped_once(open_page: Opener, tmp_path: Path) -> None:
    cells = [factory.Cell(network="enet", title="A\\B_C~D")]
    results = factory.write_results(tmp_path / "results", cells)
    write(leaderboard.render(results, figures=False), tmp_path / "reports")
    page = open_page(
        tmp_path / "reports" / "index.html", permissions=["clipboard-read", "clipboard-write"]
    )
    page.locator("[data-copy=latex]").click()
    page.wait_for_function("navigator.clipboard.readText().then((t) => t.length > 0)")
    text = page.evaluate("navigator.clipboard.readText()")
    assert "A\\textbackslash{}B\\_C\\textasciitilde{}D" in text
