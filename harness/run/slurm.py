"""Slurm, through submitit: batches of a launch become job arrays.

A task of an array is `NodeCommand`, which runs one command of `harness.run.launch`. Slurm signals
it before a time limit or a pre-emption; submitit then puts the task back into the queue, and the
same command resumes the training from its checkpoint.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EnvironmentFault
from harness.records import store
from harness.run import launch
from harness.run.launch import Batch, Launch, Launched

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.helpers import DelayedSubmission

# Slurm's own MaxArraySize is 1001, and counts from 0.
LARGEST_ARRAY = 1000
# Before the limit, for a training to finish its epoch and write its checkpoint.
SIGNAL_SECONDS = 120
# Slurm kills 30 s after it has asked (KillWait), unless it was told otherwise.
GRACE_SECONDS = 25.0
ASK_SECONDS = 60
# What squeue calls a job that runs or will: everything else has ended.
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
RUNNING = (
    *("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"),
    *("STAGE_OUT",),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What each job asks of Slurm; memory in GB, time in minutes, `more` as sbatch names it."""

    partition: str | None = None
    gpus: int = 0
    cpus: int = 4
    memory_gb: float | None = None
    minutes: int = 60
    exclusive: bool = True
    more: Mapping[str, str] = field(default_factory=dict)


class NodeCommand:
    """Runs a command on a node, to be put back into the queue as it is.

    Slurm's signals reach every process of a task. This one answers them: the command is told to
    stop as by Ctrl-C, and what it has done so far is kept.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    def __call__(self) -> None:
        """Run to the end. Raises `RuntimeError` if the command does not end with 0."""
        process = subprocess.Popen(self.words, preexec_fn=_leave_to_parent)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
        if code:
            raise RuntimeError(f"{self.words[-1]}: exit code {code}, see the log above")

    def checkpoint(self) -> DelayedSubmission:
        """The same again: the training has its own checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _leave_to_parent() -> None:
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def submit(
    launched: Launch,
    batches: Sequence[Batch],
    request: Request,
    queued: Mapping[Any, str],
    said: Callable[[Launch], None] = launch.save,
) -> Launch:
    """Submit the batches; the launch with its jobs is written down after every array.

    `queued` names the job by cell that an earlier launch left in the queue. Raises
    `EnvironmentFault`.
    """
    template = launched.template
    # Of each batch, the (array id, number of tasks) of its parts.
    made: list[list[tuple[str, int]]] = []
    for batch in batches:
        parts = []
        donors = [donor for u in batch.units if (donor := launch.donor(template, u.cell))]
        earlier = list(dict.fromkeys(queued[cell] for cell in donors if cell in queued))
        for start in range(0, len(batch.units), LARGEST_ARRAY):
            units = batch.units[start : start + LARGEST_ARRAY]
            number = start // LARGEST_ARRAY
            clause = _dependency(batch, made, number, len(units), earlier)
            executor = _executor(template.results, batch, request, clause)
            ids = _submit_array(executor, [NodeCommand(launch.command(template, u)) for u in units])
            parts.append((ids[0].partition("_")[0], len(ids)))
            jobs = [
                Launched(job=job, cell=unit.cell, stages=unit.stages)
                for job, unit in zip(ids, units, strict=True)
            ]
            launched = launched.model_copy(update={"jobs": (*launched.jobs, *jobs)})
            said(launched)
        made.append(parts)
    return launched


def _dependency(
    batch: Batch,
    made: Sequence[Sequence[tuple[str, int]]],
    part: int,
    count: int,
    earlier: Sequence[str],
) -> str:
    """Slurm's clause for the units of one array; empty if they wait for nothing."""
    if batch.each and batch.after is not None:
        array, tasks = made[batch.after][part]
        if count > 1:
            return f"aftercorr:{array}"
        return f"afterok:{array}_0" if tasks > 1 else f"afterok:{array}"
    waited = [array for array, _ in made[batch.after]] if batch.after is not None else []
    waited += earlier
    return f"afterany:{':'.join(waited)}" if waited else ""


def _executor(results: Path, batch: Batch, request: Request, dependency: str) -> SlurmExecutor:
    require()
    import submitit

    more: dict[str, Any] = dict(request.more)
    options: dict[str, Any] = {
        "job_name": "fetalbench-measure" if batch.measures else "fetalbench",
        "partition": request.partition,
        "time": request.minutes,
        # With --exclusive Slurm would start a task on every core that it grants.
        "ntasks_per_node": 1,
        "cpus_per_task": request.cpus,
        "gpus_per_node": request.gpus or None,
        "mem": f"{round(request.memory_gb * 1024)}M" if request.memory_gb else None,
        "signal_delay_s": SIGNAL_SECONDS,
        # Since Slurm 22.05 a step does not take this from its job, and the number of cores is part
        # of the machine's name: training and timing of a cell must be filed in one place.
        "srun_args": ["--ntasks=1", f"--cpus-per-task={request.cpus}"],
        "stderr_to_stdout": True,
    }
    if batch.measures and request.exclusive:
        options["exclusive"] = True
    if dependency:
        options["dependency"] = dependency
        more["kill-on-invalid-dep"] = "yes"
    executor = submitit.SlurmExecutor(folder=results.absolute() / store.WORK / "slurm")
    options = {name: value for name, value in options.items() if value is not None}
    executor.update_parameters(**options, additional_parameters=more)
    return executor


def _submit_array(executor: SlurmExecutor, commands: Sequence[NodeCommand]) -> list[str]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        if len(commands) == 1:
            return [executor.submit(commands[0]).job_id]
        with executor.batch():
            jobs = [executor.submit(command) for command in commands]
        return [job.job_id for job in jobs]
    except (FailedSubmissionError, FailedJobError, subprocess.SubprocessError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "rror" in line), lines[-1] if lines else "")
        raise EnvironmentFault(
            f"Slurm refused the jobs ({reason}); what was submitted before stays: "
            "`fetalbench status` lists it."
        ) from None


def require() -> None:
    """Raises `EnvironmentFault` if submitit is missing."""
    if find_spec("submitit") is None:
        raise EnvironmentFault(
            "--launch slurm needs submitit: pip install 'fetalbench[slurm]', or use --launch print."
        )


def queue() -> dict[str, str] | None:
    """`pending`, `running` or how it ended, by job; None if Slurm does not answer."""
    words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = {}
    for line in done.stdout.splitlines():
        job, _, state = line.strip().partition(" ")
        found[job] = _word(state.strip())
    return found


def _word(state: str) -> str:
    if state in PENDING:
        return "pending"
    return "running" if state in RUNNING else state.lower()
