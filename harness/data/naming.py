"""Names as their owners wrote them, and what of them goes into the names of our own files.

A subject or stack *is* its original name. Only the name of a file is rewritten, in a way that
tells any two names apart; the short name of a data set does the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote

LONGEST = 128
_LONGEST_FILE = 160


def original(name: str) -> str:
    """The name as text: one spelling of an accented letter (NFC), whatever wrote the file.

    Bytes that are not UTF-8, as old archives hold them, are read as Latin-1: no two become one.
    """
    raw = os.fsencode(name) if any("\ud800" <= sign <= "\udfff" for sign in name) else b""
    if raw:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            name = raw.decode("latin-1")
    return unicodedata.normalize("NFC", name)


def name_fault(name: str) -> str:
    """Why a name cannot be one of a subject or stack, or ""."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        return "holds control characters"
    return ""


def file_name(name: str) -> str:
    """The name with all but ASCII letters, digits and `_.-` as %XX; two names stay two."""
    quoted = quote(name, safe="").replace("~", "%7E")
    if len(quoted) > _LONGEST_FILE:
        quoted = f"{quoted[:_LONGEST_FILE]}-{_digest(name)}"
    return quoted


def array_path(stack: str, what: str) -> Path:
    """Where a stack's `images` or `masks` lie below the data set's folder."""
    return Path("stacks", f"{file_name(stack)}.{what}.npy")


def short_name(text: str) -> str:
    """A lower-case label of at most 64 ASCII characters.

    A label that says less than the text ends in a digest of it: `Müller` and `Möller` stay two.
    """
    simple = text.strip().lower().replace(" ", "-")
    plain = unicodedata.normalize("NFKD", simple).encode("ascii", "ignore").decode()
    label = re.sub(r"[^a-z0-9_.-]+", "-", plain).lstrip("_.-")
    if label == simple and len(label) <= 64:
        return label
    return f"{label[:55] or 'data'}-{_digest(original(text))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
