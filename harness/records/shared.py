"""Whether the locks of a results folder hold between the nodes of a cluster.

A lock is `flock` on a file (`store.lock`), which the kernel gives up when its process dies: a
killed job leaves nothing to clean up. Locks that are the presence of a file (filelock's
SoftFileLock) hold on any file system, but one that a dead node left behind cannot be told from one
that is held; filelock's other kind is the same `flock`. So the file system must pass `flock` on to
its server. NFS does since Linux 2.6.12 unless it was mounted to keep locks to itself, GPFS and
CephFS do, Lustre does if mounted with `flock`. The mount options say.
"""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
ACROSS_NODES = ("nfs", "nfs4", "lustre", "gpfs", "ceph", "fuse.ceph-fuse")
ONE_NODE = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs", "bcachefs")


def doubt(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """Why locks below `folder` may not hold between nodes, None if they do."""
    kind, options = _mount_of(folder, mounts)
    if kind in ("nfs", "nfs4"):
        kept = options & {"nolock", "local_lock=flock", "local_lock=all"}
        return (
            f"{kind} is mounted with {min(kept)}, which keeps locks to one node" if kept else None
        )
    if kind == "lustre":
        if "localflock" in options:
            return "lustre is mounted with localflock, which keeps locks to one node"
        return None if "flock" in options else "lustre is mounted without flock"
    if kind in ACROSS_NODES:
        return None
    if kind in ONE_NODE:
        return f"{kind} belongs to one node, which is enough only if all jobs run there"
    return f"{kind} does not say here whether its locks hold between nodes"


def _mount_of(folder: Path, mounts: Path) -> tuple[str, set[str]]:
    """File system type and options of the innermost mount that holds the folder."""
    place = folder.resolve()
    found: tuple[int, str, set[str]] = (-1, "the file system", set())
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return found[1:]
    for line in lines:
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        if len(words) < 6 or len(rest) < 3:
            continue
        # Blanks in a path are written as octal numbers.
        point = Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), words[4]))
        depth = len(point.parts)
        # Of two mounts in one place the later one is seen.
        if depth >= found[0] and place.is_relative_to(point):
            found = (depth, rest[0], {*words[5].split(","), *rest[2].split(",")})
    return found[1:]
