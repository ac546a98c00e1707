"""Any terminal: what it cannot show is written in letters that it can."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

HANDLER = "fetalbench"
# Signs of our tables and sentences that have no decomposition of their own.
PLAIN = {
    "×": "x",
    "—": "-",
    "–": "-",
    "−": "-",
    "·": "*",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "°": " deg",
    "µ": "u",
    "μ": "u",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "ß": "ss",
    "✓": "ok",
}


def never_fail() -> None:
    """Make standard output and error write any text, whatever the encoding of the terminal."""
    codecs.register_error(HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        # Anything else, as a test's, takes any text already.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_plain(sign) for sign in text), error.end


def _plain(sign: str) -> str:
    """One sign in ASCII; `?` where there is nothing like it."""
    if sign in PLAIN:
        return PLAIN[sign]
    letters = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return letters or ("" if unicodedata.combining(sign) else "?")
