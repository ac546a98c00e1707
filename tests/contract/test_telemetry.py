"""Nothing leaves the machine: no process looks up a host, or keeps a file where none is declared.

Processes are traced, since what a compiled library does is seen by the kernel alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset

ROOT = Path(__file__).parents[2]
RUN = """
import sys, time
import numpy, onnx
from onnx import TensorProto, helper
from backends import runtimes
image, logits = (
    helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 8, 8])
    for name in ("image", "logits")
)
node = helper.make_node("Relu", ["image"], ["logits"])
graph = helper.make_graph([node], "net", [image], [logits])
opset = helper.make_opsetid("", 18)
model = helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
run = runtimes.open_model(sys.argv[1], model, (1, 1, 8, 8), 1)
run(numpy.zeros((1, 1, 8, 8), numpy.float32))
time.sleep(3)
"""
# A name server, or any host: a socket of the internet families that is connected or written to.
INTERNET = re.compile(r"(connect|sendto|sendmmsg|sendmsg)\(.*sa_family=AF_INET6?")
LOOPBACK = re.compile(r'"(127\.[\d.]+|::1)"')
# A file opened to be written, and where the kernel and the system's devices stand.
WRITTEN = re.compile(r'(?:openat\([^,]+, |creat\(|open\()"([^"]+)".*(?:O_WRONLY|O_RDWR|O_CREAT)')
DEVICES = ("/dev/", "/proc/", "/sys/")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_speaks_to_nobody_and_keeps_nothing(runtime: str, tmp_path: Path) -> None:
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    words = ["strace", "-f", "-qq", "-e", "trace=%network", "-o", str(trace)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
    subprocess.run(
        [*words, sys.executable, "-c", RUN, runtime],
        env=kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=True,
    )
    spoken = [line for line in trace.read_text().splitlines() if INTERNET.search(line)]
    assert spoken == []
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*")) == []


COMMANDS = {
    "measure": ("measure", "rfbsnet", "--plan", "compile,onnxruntime,openvino", "--size", "64x64"),
    "stream": ("stream", "rfbsnet", "--plan", "openvino", "--size", "64x64", "--slices", "5"),
    "run": ("run", "--protocol", "smoke", "--networks", "rfbsnet"),
}
EXPORT = ("export", "rfbsnet", "--size", "64x64", "--out", "results/rfbsnet.onnx")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("command", [*COMMANDS, "export"])
def test_the_whole_process_tree_of_a_command(
    command: str, tmp_path: Path, disc_data: Dataset
) -> None:
    home, trace = tmp_path / "home", tmp_path / "trace"
    temporary, results = tmp_path / "temporary", tmp_path / "results"
    for folder in (home, temporary, results):
        folder.mkdir()
    shared = ("--data", str(disc_data.folder), "--results", "results")
    words = EXPORT if command == "export" else (*COMMANDS[command], *shared)
    traced = ["strace", "-f", "-qq", "-e", "trace=%network,openat,open,creat", "-o", str(trace)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
    own = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*traced, sys.executable, "-m", "harness.cli", *words],
        cwd=tmp_path,
        env=kept | own | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = trace.read_text(errors="replace").splitlines()
    assert [one for one in lines if INTERNET.search(one) and not LOOPBACK.search(one)] == []
    opened = {found[1] for one in lines if (found := WRITTEN.search(one)) and "= -1" not in one}
    places = (*DEVICES, f"{temporary}/", f"{results}/")
    strange = {path for path in opened if path.startswith("/") and not path.startswith(places)}
    assert strange == set()
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*")) == []
