"""The worker process: `python -m harness.worker JOB.json EVENTS_FD`, in its own session.

Its events go to the parent as lines of JSON on a descriptor of their own, since frameworks print
what they like elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backends.errors import BackendError
from harness.errors import EXIT_INTERRUPTED, EXIT_OK, FetalbenchError
from harness.jobs import events
from harness.jobs.job import Job
from harness.worker.cells import Poisoned, run_job
from harness.worker.state import Stopped


def main() -> int:
    """Read the job, do it, and say how it went by the exit code alone."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    with os.fdopen(int(sys.argv[2]), "w", buffering=1) as pipe:

        def report(event: events.Event) -> None:
            try:
                pipe.write(events.to_line(event))
            except BrokenPipeError:
                # The parent is gone, and with it whoever would hold this process to its limits.
                raise Stopped from None

        try:
            run_job(job, report)
        except Stopped:
            return EXIT_INTERRUPTED
        except Poisoned:
            return EXIT_OK
        except (FetalbenchError, BackendError) as error:
            report(events.JobRefused(reason=str(error), exit_code=error.exit_code))
            return error.exit_code
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
