"""One claim of the paper, and the networks that its claims are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.leaderboard.board.rows import Row

ClaimOutcome = Literal["holds", "falls", "undecided", "not tested"]

PROPOSED, RIVAL, ENCODER = "rfbsnet", "unet", "segnet"
HEAVY = (RIVAL, ENCODER)
# The networks of the paper's Table 1. Its claims are about these; another network on the board,
# however good, says nothing about them.
REAL_TIME = ("dfanet", "enet", "fast_scnn", "icnet", "shuffleseg", "shuffleseg_v2")
NINE = (PROPOSED, *HEAVY, *REAL_TIME)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, its figure, ours, the outcome and why.

    `sources` are the rows behind the figures.
    """

    text: str
    paper: str
    ours: str
    outcome: ClaimOutcome
    why: str
    sources: tuple[Row, ...] = ()


def untested(text: str, paper: str, why: str) -> Claim:
    """A claim that the records cannot test."""
    return Claim(text=text, paper=paper, ours="", outcome="not tested", why=why)
