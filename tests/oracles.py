"""Libraries that only tests use, to check our numbers against theirs."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

import pytest


def oracle(name: str) -> ModuleType:
    """Import it. Missing is a failure where `CI` is set and a skip with its reason elsewhere.

    A skip in CI would turn the comparison off for good without anyone being told.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)
