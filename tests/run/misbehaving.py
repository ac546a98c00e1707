"""NumPy networks that misbehave in their process, installed as a plugin without pip."""

from __future__ import annotations

from pathlib import Path

NETWORK = """
import ctypes, os, signal, subprocess, sys, time
import numpy as np

def build(*, classes=2, height=64, width=64):
    calls = []

    def forward(images):
        if not calls:
            calls.append(1)
            {body}
        brain = images[..., 0] > 0.5
        return np.stack([~brain, brain], axis=3).astype(np.float32)
    return forward
"""
CARD = """
from architectures.card import Card
CARD = Card(title="{title}", summary="misbehaves", citation="none", url="https://example.org")
"""
BODIES = {
    "well": "pass",
    "exits0": "os._exit(0)",
    "exits130": "os._exit(130)",
    "realtime": "os.kill(os.getpid(), signal.SIGRTMIN + 3)",
    "segfault": "ctypes.string_at(0)",
    "moves": "os.chdir('/')",
    "shouts": "raise RuntimeError('\\x1b[31mbad\\x07 ' + 'x' * 10_000_000)",
    "silent": "os._exit(3)",
    "leaves_child": "subprocess.Popen(['sleep', '600'], start_new_session=True, close_fds=False)",
    "forks": "0 if os.fork() else (os.setsid(), time.sleep(20), os._exit(0))",
    "floods": "[print('x' * 999_999, flush=True) for _ in range(40)] and os._exit(4)",
    "hangs": "time.sleep(600)",
    "no_memory": "raise MemoryError('no memory for 8 images')",
    "cuda_memory": "raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB.')",
}


def install(site: Path, *names: str) -> Path:
    """Write the networks into `site`, which then belongs on PYTHONPATH; returns it."""
    points = []
    for name in names:
        package = site / f"misbehaving_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""Misbehaves."""\n')
        (package / "card.py").write_text(CARD.format(title=name))
        (package / "numpy_net.py").write_text(NETWORK.format(body=BODIES[name]))
        points.append(f"{name} = misbehaving_{name}")
    about = site / "misbehaving-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 0\n")
    lines = "\n".join(["[fetalbench.architectures]", *points])
    (about / "entry_points.txt").write_text(f"{lines}\n")
    return site
