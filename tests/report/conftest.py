"""A results folder, the page made of it, and a real browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from harness.leaderboard import page as leaderboard
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.output import write
from tests.report import factory
from tests.report.reading import board_of

CHROMIUM = Path("/usr/bin/chromium")
# What keeps Chromium from asking the network for anything of its own.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the whole grid on one machine."""
    return factory.write_results(tmp_path_factory.mktemp("grid") / "results", factory.grid())


@pytest.fixture(scope="session")
def exported(results: Path) -> dict[str, bytes]:
    """The files of the whole grid, without figures."""
    return leaderboard.render(results, figures=False)


@pytest.fixture(scope="session")
def ranked(results: Path) -> tuple[Board, Standings]:
    """The board of the whole grid, with its comparisons."""
    return board_of(results)


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records that fill every part of a page with few rows, which browsers take faster."""
    return factory.write_results(tmp_path_factory.mktemp("shown") / "results", factory.few())


@pytest.fixture(scope="session")
def files(shown: Path) -> dict[str, bytes]:
    """The files of a small report with all its figures, rendered once."""
    return leaderboard.render(shown)


@pytest.fixture(scope="session")
def page_path(shown: Path, files: dict[str, bytes]) -> Path:
    """The small page on disk, beside its records."""
    write(files, shown.parent / "reports")
    return shown.parent / "reports" / leaderboard.PAGE


@pytest.fixture
def one_cell(tmp_path: Path) -> Path:
    """A results folder with a single record."""
    return factory.write_results(tmp_path / "results", [factory.Cell(network="enet")])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless. Missing is a failure in CI and a skip elsewhere."""
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is not installed (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield browser
        browser.close()


Opener = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, page_path: Path) -> Iterator[Opener]:
    """Opens a page in a context of its own; at the end no watched page may have complained."""
    contexts, complaints, requests, opened = [], [], [], set()

    def open_in_browser(path: Path = page_path, *, watched: bool = True, **options: Any) -> Page:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        if watched:
            page.on("console", lambda message: complaints.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on("request", lambda request: requests.append(request.url))
            page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        opened.add(path.as_uri())
        return page

    yield open_in_browser
    for context in contexts:
        context.close()
    assert complaints == []
    # Data URIs never leave the page.
    assert [
        url
        for url in requests
        if url.partition("?")[0] not in opened and not url.startswith("data:")
    ] == []
