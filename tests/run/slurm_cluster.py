"""A real Slurm on this machine: one node, its controller and munge, started and ended by a test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits until its old credential has expired, two minutes if it is not said.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why no Slurm can be started here, None if it can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    lacking = [name for name in (*DAEMONS, *CLIENTS) if not shutil.which(name, path=path)]
    packages = "slurmctld slurmd slurm-client munge"
    return f"{', '.join(lacking)} not installed (Debian: {packages})" if lacking else None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cluster:
    """The daemons; a context manager that leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Daemons of a user serve that user's jobs: no need for root.
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.conf = folder / "slurm.conf"
        self.environment = dict(os.environ) | {"SLURM_CONF": str(self.conf)}

    def __enter__(self) -> Self:
        # munged refuses a socket below a folder that others may write to.
        self.folder.chmod(0o755)
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(mode=0o700)
        (self.folder / "munge" / "key").write_bytes(os.urandom(128))
        (self.folder / "munge" / "key").chmod(0o600)
        text = CONF.format(
            host=socket.gethostname().split(".")[0],
            folder=self.folder,
            user=self.user,
            controller_port=_free_port(),
            node_port=_free_port(),
        )
        self.conf.write_text(text)
        try:
            self._start_munge()
            self.start_controller()
            self._start("slurmd")
            self._wait(lambda: self.said("sinfo", "--noheader", "--format=%t").strip() == "idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.said("scancel", f"--user={self.user}")
        for name in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            self._end(self.folder / name)

    def _start_munge(self) -> None:
        own = self.folder / "munge"
        words = [f"--{what}={own / name}" for what, name in (
            ("socket", "socket"), ("key-file", "key"), ("pid-file", "pid"), ("log-file", "log"),
            ("seed-file", "seed"),
        )]  # fmt: skip
        # Force: the folder of a test lies below one that everyone may write to.
        subprocess.run(["/usr/sbin/munged", "--force", *words], check=True, capture_output=True)

    def _start(self, name: str) -> None:
        words = [f"/usr/sbin/{name}", "-f", str(self.conf)]
        subprocess.run(words, check=True, capture_output=True, env=self.environment)

    def start_controller(self) -> None:
        """Start the controller, which takes up its jobs where they are."""
        self._start("slurmctld")

    def restart_controller(self) -> None:
        """As after a failure of its machine."""
        self._end(self.folder / "slurmctld.pid")
        self.start_controller()
        self._wait(lambda: "UP" in self.said("scontrol", "ping"))

    def _end(self, pid_file: Path) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            number = int(pid_file.read_text())
            os.kill(number, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                os.kill(number, 0)
                time.sleep(0.05)
            os.kill(number, signal.SIGKILL)

    def said(self, *words: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def _wait(self, reached: object, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):
                if callable(reached) and reached():
                    return
            assert time.monotonic() < deadline, (self.folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.1)
