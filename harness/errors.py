"""Mistakes that a user can mend: each is one sentence and an exit code (reliability, point 10)."""

from __future__ import annotations

from typing import ClassVar

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


class DataError(FetalbenchError):
    """A data set or one of its files is not what it must be."""

    exit_code = EXIT_DATA


class RecordError(FetalbenchError):
    """A record or results folder cannot be read or written."""

    exit_code = EXIT_DATA


class NewerRecord(RecordError):
    """A record of a later fetalbench: to be left alone, whatever is asked."""


class EnvironmentFault(FetalbenchError):
    """Something is missing on this machine: a framework, a GPU, disk space."""

    exit_code = EXIT_ENVIRONMENT


class CellFailed(FetalbenchError):
    """A command of one cell has done its work, and the cell did not end well."""

    exit_code = EXIT_SOME_CELLS_FAILED
