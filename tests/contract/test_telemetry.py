"""Nothing leaves the machine: deployment runtimes neither look up a host nor keep an identifier.

The process is traced, since what a compiled library does is seen by the kernel alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
