"""The README's picture of the leaderboard: the verdict and the first rows, by headless Chromium.

    python -m benchmarks.leaderboard_picture            # reports/index.html → docs/leaderboard.png

It needs Playwright (the extra `dev`) and Debian's package `chromium`; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

WIDTH = 1520
ROWS = 6
MARGIN = 1  # so that the last row's line is in the picture
CHROMIUM = Path("/usr/bin/chromium")


def picture(page_path: Path, out: Path, chromium: Path, rows: int) -> None:
    """Write a PNG from the top of the page to the end of the table's first `rows` rows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(
            viewport={"width": WIDTH, "height": 900}, color_scheme="light"
        )
        page = context.new_page()
        page.goto(page_path.resolve().as_uri())
        table = page.locator(".board:visible table.leaderboard tr.line")
        last = table.nth(min(rows, table.count()) - 1).bounding_box()
        if last is None:
            raise SystemExit(f"{page_path}: the table has no visible row; run `fetalbench report`.")
        height = round(last["y"] + last["height"]) + MARGIN
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.screenshot(path=out)
        browser.close()


def main() -> int:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--page", type=Path, default=Path("reports/index.html"))
    parser.add_argument("--out", type=Path, default=Path("docs/leaderboard.png"))
    parser.add_argument("--chromium", type=Path, default=CHROMIUM)
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    for path, remedy in (
        (given.page, "write it with `fetalbench report`"),
        (given.chromium, "install it (apt-get install chromium) or pass --chromium"),
    ):
        if not path.is_file():
            print(f"{path}: no such file; {remedy}.", file=sys.stderr)
            return 2
    picture(given.page, given.out, given.chromium, given.rows)
    print(f"{given.out} shows the first rows of {given.page}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
