"""Where a record comes from: code, versions, environment, machine; never a user or host name."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from harness.records.schema import Machine, Provenance

# Variables that change what a framework computes or how fast. What a user's shell says of most of
# them reaches no worker (`harness.jobs.environment`); libraries and limits loaded before it do.
PREFIXES = (
    *("OMP_", "MKL_", "KMP_", "OPENBLAS_", "TF_", "XLA_", "JAX_", "TORCH", "NVIDIA_TF32_OVERRIDE"),
    *("KERAS_BACKEND", "CUDA_VISIBLE", "CUBLAS_", "LD_PRELOAD", "MALLOC_", "GLIBC_TUNABLES"),
)
# An absolute path of at least two parts; not the one in a URL, and not "images/s" or "n/a".
_PART = r"[^\s/:;,'\"()<>]"
ABSOLUTE_PATH = re.compile(rf"(?<![\w./~>-])/(?:{_PART}+/)+({_PART}*)")
# The part after these is a user's name.
SOMEONES_HOME = re.compile(rf"(?<![\w./~>-])(?:/{_PART}+)*?/(?:home|Users)/{_PART}*[^\W_]")
LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "safetensors", "nibabel")


def fetalbench_version() -> str:
    """The installed version, or "source tree" if nothing is installed."""
    try:
        return metadata.version("fetalbench")
    except metadata.PackageNotFoundError:
        return "source tree"


def source_digest(sources: Iterable[Path]) -> str:
    """sha256 over Python files, and over all that folders hold, under their names."""
    total = hashlib.sha256()
    for source in sources:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            content = path.read_bytes()
            total.update(f"{path.relative_to(source.parent)} {len(content)}\n".encode())
            total.update(content)
    return total.hexdigest()


def without_paths(sentence: str, roots: Mapping[str, Path] | None = None) -> str:
    """`sentence` without any absolute path, since paths name users and machines.

    `roots` are short names of folders, such as `{"results": job.results}`: what lies below them
    stays readable as `results/…`. So do site-packages, our source tree and the home folder (`~`).
    Of every other absolute path only its last part is left, behind `…/`.
    """
    known = [(name, folder) for name, folder in (roots or {}).items()]
    known += [("site-packages", Path(sysconfig.get_path(key))) for key in ("purelib", "platlib")]
    known += [("fetalbench", Path(__file__).parents[2]), ("~", Path.home())]
    pairs = {(str(p), name) for name, f in known for p in (f.absolute(), f.resolve())}
    # The longest first: a results folder below the home folder is called results.
    for prefix, name in sorted(pairs, key=lambda pair: (-len(pair[0]), pair)):
        if prefix != os.sep:
            whole = rf"(?<![\w.-]){re.escape(prefix)}(?![\w-]|\.\w)"
            sentence = re.sub(whole, lambda _, name=name: name, sentence)
    return ABSOLUTE_PATH.sub(r"…/\1", SOMEONES_HOME.sub("~", sentence))


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """The variables that matter; of a path only that it is one, since paths name users."""
    chosen = {k: v for k, v in sorted(os.environ.items()) if k.startswith(PREFIXES)}
    return {k: "(a path)" if os.sep in v else v for k, v in chosen.items()}


def collect(backend_versions: dict[str, str], hardware: Machine) -> Provenance:
    """The provenance of a record made by this process on `hardware`."""
    # Installed into somebody's project, this file lies in their repository and is not part of it.
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = _git("rev-parse", "HEAD") if ours else None
    return Provenance(
        fetalbench=fetalbench_version(),
        git_commit=commit,
        git_dirty=bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in LIBRARIES} | backend_versions,
        environment=_environment(),
        machine=hardware,
    )
