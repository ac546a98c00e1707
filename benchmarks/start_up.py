"""How long the command line takes to answer, beside Python itself doing nothing.

    python -m benchmarks.start_up [--rounds 9]

Prints milliseconds: the median and the slowest of rounds in which the four take turns, each in a
process of its own. The aim is that each command answers in under a second. Run it on an idle
machine; the first round, which fills the disk cache, does not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from harness.data.description import DatasetMeta

AIM_MS = 1000.0
PYTHON = "python -c pass"


def commands(data: Path) -> dict[str, list[str]]:
    """What is started, by the name under which it is printed."""
    ours = ["-m", "harness.cli"]
    return {
        PYTHON: ["-c", "pass"],
        "fetalbench --help": [*ours, "--help"],
        "fetalbench list": [*ours, "list"],
        "fetalbench plan": [*ours, "plan", "--data", str(data)],
    }


def milliseconds(words: list[str]) -> float:
    """Wall time of one process from its start to its end."""
    start = perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return 1e3 * (perf_counter() - start)


def main() -> int:
    """Measure in turns, print, and return 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        # All that `plan` reads of a data set.
        meta = DatasetMeta(name="none", title="", kind="arrays", source="", licence="", hash="0")
        (Path(folder) / "dataset.json").write_text(meta.model_dump_json(), encoding="utf-8")
        words = commands(Path(folder))
        taken = [{name: milliseconds(line) for name, line in words.items()} for _ in range(rounds)]
    late = False
    for name in words:
        times = [row[name] for row in taken[1:] or taken]
        late |= median(times) >= AIM_MS
        print(f"{name:<18} {median(times):6.0f} ms (slowest {max(times):.0f})")
    print(f"aim: each under {AIM_MS:.0f} ms")
    return int(late)


if __name__ == "__main__":
    raise SystemExit(main())
