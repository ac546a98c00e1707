"""The worker process: `python -m harness.worker JOB.json EVENTS_FD`, in its own session.

Its events go to the parent as lines of JSON on a descriptor of their own, since frameworks print
what they like elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from backends.errors import BackendError
from harness.errors import EXIT_INTERRUPTED, EXIT_OK, FetalbenchError
from harness.jobs import events
from harness.jobs.job import Job
from harness.measuring.profiles import profile
from harness.worker.cells import Poisoned, run_job
from harness.worker.parent import PARENT, limit
from harness.worker.state import Stopped

SPARE_SECONDS = 60.0


def main() -> int:
    """Read the job, do it, and say how it went by the exit code alone."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    with os.fdopen(int(sys.argv[2]), "w", buffering=1) as pipe:
        # What the network starts must not keep the parent's pipe open.
        os.set_inheritable(pipe.fileno(), False)
        PARENT.start()

        def report(event: events.Event) -> None:
            _hold_limit(job, event)
            try:
                pipe.write(events.to_line(event))
            except BrokenPipeError:
                # The parent is gone, and with it whoever would hold this process to its limits.
                raise Stopped from None

        try:
            run_job(job, report)
        except Stopped:
            with contextlib.suppress(Stopped):
                report(events.JobStopped())
            return EXIT_INTERRUPTED
        except Poisoned:
            return EXIT_OK
        except (FetalbenchError, BackendError) as error:
            report(events.JobRefused(reason=str(error), exit_code=error.exit_code))
            return error.exit_code
    return EXIT_OK


def _hold_limit(job: Job, event: events.Event) -> None:
    """Begin the cell's time again, as the parent does; this end of it only acts if that is gone."""
    allowed = 2 * job.protocol.limits.cell_seconds + SPARE_SECONDS
    match event:
        case events.CellStarted():
            limit(allowed)
        case events.MeasuringStarted():
            chosen = profile(job.protocol.measuring.profile)
            limit(allowed + 2 * chosen.least(event.condition.batch, job.parts)[1])
        case _:
            pass


if __name__ == "__main__":
    sys.exit(main())
