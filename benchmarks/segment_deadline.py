"""Does the streaming loop of docs/segment.md keep up with a scanner, from raw slice to mask?

    python -m benchmarks.segment_deadline STACK.nii.gz [--plan openvino] [--pace interactive]

Replays the slices of a stack at a scanner's pace, as `fetalbench stream` does for a network alone;
fitting, normalisation and the way back to the slice's own grid count here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.data.unlabelled import find_stacks, read_stack
from harness.deploy.segmenter import BEST, Segmenter
from harness.deploy.slice_query import SliceQuery
from harness.measuring import stream


def main() -> None:
    """Print one line per result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", type=Path)
    parser.add_argument("--plan", default=BEST)
    parser.add_argument("--pace", default="interactive", choices=list(stream.PACES))
    parser.add_argument("--slices", type=int, default=200)
    wanted = parser.parse_args()
    (case,) = find_stacks([wanted.stack]).values()
    stack = read_stack(case)
    images = stack.images[..., None]

    def prepare() -> SliceQuery:
        return SliceQuery(Segmenter(plan=wanted.plan), images[:1], stack.spacing_mm)

    pace = stream.pace(wanted.pace)
    found, _ = stream.run(prepare, images, pace, slices=wanted.slices, seed=0)
    print(
        f"{pace.title}: {found.missed} of {found.slices} deadlines missed (at most "
        f"{100 * found.missed_share_upper:.1f} % with 95 % confidence), median "
        f"{found.median_ms:.1f} ms, worst {found.worst_ms:.1f} ms, from nothing to the first mask "
        f"{found.cold_start_ms / 1000:.1f} s"
    )


if __name__ == "__main__":
    main()
