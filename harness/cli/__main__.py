"""`python -m harness.cli` is `fetalbench`."""

from __future__ import annotations

from harness.cli import main

main()
