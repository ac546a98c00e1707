"""What the phantom costs: time and memory of making a preset and of loading it for training.

    python -m benchmarks.phantom_cost            # tiny and paper
    python -m benchmarks.phantom_cost tiny

Each preset is made and loaded in fresh processes below `build/phantom_cost`. Memory is the largest
sum of resident bytes over the process and its children, looked at every 50 ms (pages that they
share count once each, so it is an upper bound). The aims are 10 s for `tiny`, and 4 minutes and
3 GB on two cores for `paper`; loading should take no more memory than the arrays.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from harness import cores

OUT = Path("build/phantom_cost")
PRESETS = ("tiny", "paper")
SIDES = {"tiny": 64, "paper": 256}
INTERVAL_SECONDS = 0.05
LOADING = """
import sys, time
from pathlib import Path
from harness.data.catalogue import open_dataset
from harness.data.preparation import prepare
from harness.measuring.memory import peak_rss_bytes
folder, side = Path(sys.argv[1]), int(sys.argv[2])
before = peak_rss_bytes()
start = time.perf_counter()
dataset = open_dataset(folder)
rows = dataset.rows("train")
opened = time.perf_counter() - start
images, masks = prepare(
    dataset, rows, height=side, width=side, fit="crop_pad", normalisation="per_slice"
)
loaded = time.perf_counter() - start
grown = peak_rss_bytes() - before
print(
    f"opened in {opened:.2f} s, training set ({len(rows)} slices) prepared after {loaded:.2f} s; "
    f"arrays {(images.nbytes + masks.nbytes) / 1e6:.0f} MB, peak above the imports "
    f"{grown / 1e6:.0f} MB"
)
"""


def resident_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and its children; one that has just ended counts nothing."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def watch(*words: object) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of a command. Raises `CalledProcessError`."""
    command = [sys.executable, *map(str, words)]
    start = time.perf_counter()
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            peak = max(peak, resident_bytes(watched))
            time.sleep(INTERVAL_SECONDS)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return time.perf_counter() - start, peak


def main(presets: list[str]) -> None:
    """Make and load each preset, and print what it took."""
    for preset in presets:
        folder = OUT / preset
        shutil.rmtree(folder, ignore_errors=True)
        words = ("data", "phantom", "--preset", preset, "--out", folder)
        seconds, peak = watch("-m", "harness.cli", *words)
        print(
            f"{preset}: made in {seconds:.1f} s on {cores.count()} cores, peak {peak / 1e6:.0f} MB"
        )
        loading = [sys.executable, "-c", LOADING, str(folder), str(SIDES[preset])]
        found = subprocess.run(loading, capture_output=True, text=True, check=True)
        print(f"{preset}: {found.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PRESETS))
