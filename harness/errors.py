"""Mistakes that a user can fix: each is one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from backends.errors import did_you_mean

EXIT_OK = 0
EXIT_SOME_CELLS_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_ENVIRONMENT = 4
EXIT_INTERRUPTED = 130


class FetalbenchError(Exception):
    """Base of all expected errors; the text is one sentence that names the file and the remedy."""

    exit_code: ClassVar[int] = EXIT_USAGE


class UsageError(FetalbenchError):
    """A wrong option, protocol or name."""


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that nothing has, with the nearest that something has."""
    return UsageError(f"unknown {what} {name!r}: {did_you_mean(name, known)}")


class DataError(FetalbenchError):
    """A data set or one of its files is not what it must be."""

    exit_code = EXIT_DATA


class RecordError(FetalbenchError):
    """A record or results folder cannot be read or written."""

    exit_code = EXIT_DATA


class NewerRecord(RecordError):
    """A record of a later fetalbench, which is left alone whatever is asked."""


class EnvironmentFault(FetalbenchError):
    """Something is missing on this machine: a framework, a GPU, disk space."""

    exit_code = EXIT_ENVIRONMENT


class CellFailed(FetalbenchError):
    """A command ran its one cell, and the cell failed."""

    exit_code = EXIT_SOME_CELLS_FAILED
