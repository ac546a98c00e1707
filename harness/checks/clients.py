"""Clients of the worker processes that answer questions about networks, one per framework."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from harness import registry
from harness.errors import FetalbenchError
from harness.jobs.environment import worker_environment, worker_threads
from harness.jobs.interpreters import interpreter

GRACE_SECONDS = 10.0
# PyTorch's threads wait for each other at every layer by spinning: on cores that other processes
# use too, a layer takes ten times as long. The other frameworks' threads sleep while they wait.
SPINNING = ("torch", "keras-torch")


class WorkerFault(FetalbenchError):
    """A question that the worker refused, or failed at; one sentence."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code  # pyright: ignore[reportAttributeAccessIssue]


class WorkerClient:
    """The parent's end of one worker. Questions are answered in the order in which they come.

    `ask` waits for the answer, `submit` returns a future, so that frameworks work side by side.
    """

    def __init__(self, backend: str, folder: Path, threads: int) -> None:
        """Start the worker with that many threads; its own output goes to a log in `folder`.

        Raises `MissingFramework` if the framework is not installed.
        """
        registry.require_framework(backend)
        self.backend, self.folder = backend, folder
        self.log = folder / f"{backend}.log"
        questions_read, questions_write = os.pipe()
        answers_read, answers_write = os.pipe()
        words = [backend, str(threads), str(questions_read), str(answers_write)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [interpreter(backend), "-m", "harness.checks.worker", *words],
                env=worker_environment(backend, "cpu", threads, None),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(questions_read, answers_write),
            )
        os.close(questions_read)
        os.close(answers_write)
        self._questions: IO[str] = os.fdopen(questions_write, "w", buffering=1)
        self._answers: IO[str] = os.fdopen(answers_read)
        self._line = ThreadPoolExecutor(max_workers=1)

    def submit(self, verb: str, after: Future[Any] | None = None, **values: Any) -> Future[Any]:
        """Ask later, and not before `after` is answered; its error becomes this question's too."""
        return self._line.submit(self._ask, verb, after, values)

    def ask(self, verb: str, **values: Any) -> Any:
        """The worker's answer. Raises `WorkerFault`."""
        return self.submit(verb, **values).result()

    def _ask(self, verb: str, after: Future[Any] | None, values: dict[str, Any]) -> Any:
        if after is not None:
            after.result()
        words = {key: str(v) if isinstance(v, Path) else v for key, v in values.items()}
        try:
            self._questions.write(json.dumps({"verb": verb, **words}) + "\n")
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerFault(
                f"the {self.backend} worker exited without an answer: {self._last_words()}", 4
            )
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFault(answer["error"], answer["exit_code"])
        if "crash" in answer:
            raise WorkerFault(f"{self.backend} failed at {verb}: {answer['crash']}", 1)
        return answer["value"]

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        code = self._process.poll()
        if code is not None and code < 0:
            return f"by {signal.Signals(-code).name}"
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {code}, no output"

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        self._line.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._process.wait()
        self._line.shutdown()
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        self._answers.close()


@contextlib.contextmanager
def clients(backends: Sequence[str]) -> Iterator[tuple[dict[str, WorkerClient], Path]]:
    """Start one worker per backend, and a folder for the arrays; both are gone afterwards.

    The workers share the cores. Raises `MissingFramework`.
    """
    cores = worker_threads(0)
    share = max(1, cores // max(1, len(backends)))
    for backend in backends:
        registry.require_framework(backend)
    with tempfile.TemporaryDirectory(prefix="fetalbench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        started = {}
        for backend in backends:
            threads = share if backend in SPINNING else cores
            started[backend] = WorkerClient(backend, folder, threads)
            stack.callback(started[backend].close)
        yield started, folder
