"""A backend started on a device in a process of its own, where it computes something.

The parent calls `trial`; the process is `python -m harness.jobs.trial BACKEND DEVICE`, with the
interpreter and the environment of a worker. A device file or an import proves less.
"""

from __future__ import annotations

import json
import subprocess
import sys

from harness import cores, registry
from harness.jobs.environment import worker_environment
from harness.jobs.interpreters import interpreter

TRIAL_SECONDS = 300
SIDE = 256
# Of a product of 256×256: float32 is off by 1e-6, TF32 by 1e-3.
TOLERANCE = 1e-2


def trial(backend: str, device: str) -> str | None:
    """Why the backend does not compute on the device, None if it does."""
    try:
        done = subprocess.run(
            [interpreter(backend), "-m", "harness.jobs.trial", backend, device],
            env=worker_environment(backend, device, cores.count()),
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not compute a product within {TRIAL_SECONDS} s."
    try:
        # Frameworks print what they like before.
        return json.loads(done.stdout.splitlines()[-1])["reason"]
    except (IndexError, ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return f"exit code {done.returncode}: {lines[-1] if lines else 'no output'}"


def _compute(name: str, device: str) -> str | None:
    import numpy as np

    from backends.contract import Runtime
    from backends.errors import BackendError

    try:
        made = registry.load_backend(name)(
            Runtime(device="cuda" if device == "cuda" else "cpu", deterministic=False)
        )
    except BackendError as error:
        return str(error)
    plan = next(plan for plan in made.capabilities.plans if device in plan.devices)
    random = np.random.default_rng(0)
    left, right = random.standard_normal((2, SIDE, SIDE), np.float32)
    exact = left.astype(np.float64) @ right
    error = float(np.abs(made.multiply(left, right, plan=plan.key) - exact).max())
    if error > TOLERANCE * float(np.abs(exact).max()):
        return f"a product of matrices is wrong by {error:.3g}."
    return None


def main() -> int:
    """Compute, and print the outcome as the last line."""
    print(json.dumps({"reason": _compute(*sys.argv[1:])}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
