"""Mount options, and what they say about locks between nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.shared import doubt

# As /proc/self/mountinfo has them.
MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime - nfs4 server:/home rw,vers=4.2,local_lock=none
31 22 0:41 / /old rw,relatime - nfs server:/old rw,vers=3,nolock,local_lock=all
32 22 0:42 / /scratch rw,relatime - lustre 10.0.0.1@tcp:/s rw,flock
33 22 0:43 / /scratch/own rw,relatime - lustre 10.0.0.1@tcp:/o rw,localflock
34 22 0:44 / /scratch/none rw,relatime - lustre 10.0.0.1@tcp:/n rw
35 22 0:45 / /with\\040blank rw - beegfs beegfs_nodev rw
36 22 0:46 / /parallel rw - gpfs gpfs0 rw
"""


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("/home/me/results", None),
        ("/scratch/results", None),
        ("/parallel", None),
        ("/old/results", "nfs is mounted with local_lock=all"),
        ("/scratch/own/results", "mounted with localflock"),
        ("/scratch/none", "mounted without flock"),
        ("/scratch-of-a-node/x", "ext4 belongs to one node"),
        ("/with blank/results", "beegfs does not say"),
    ],
)
def test_the_innermost_mount_decides(folder: str, words: str | None, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    found = doubt(Path(folder), mounts)
    assert found is None if words is None else words in (found or "")


def test_without_a_list_of_mounts_nothing_is_promised(tmp_path: Path) -> None:
    assert "does not say" in (doubt(tmp_path, tmp_path / "absent") or "")
