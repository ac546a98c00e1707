"""Sentences that come from elsewhere (exceptions, logs), made fit for a record and a page."""

from __future__ import annotations

import re

LONGEST = 2000
# What a terminal obeys: colours, cursor, titles.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def plain(text: str) -> str:
    """One line without control characters, of at most `LONGEST` characters: its head and tail."""
    if len(text) > 4 * LONGEST:
        text = f"{text[: 2 * LONGEST]}{text[-2 * LONGEST :]}"
    line = _CONTROL.sub(" ", _ESCAPES.sub("", text)).strip()
    if len(line) <= LONGEST:
        return line
    half = (LONGEST - 5) // 2
    return f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    """Text that UTF-8 can hold: a path of other bytes is shown with � for each of them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
