"""A SLURM of its own on one machine: munged, slurmctld and slurmd on loopback, everything in one folder.

``python tests/slurm/cluster.py FOLDER CPUS`` starts one for trying things out, and stops it when it is interrupted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PLUGIN = "snakemake_executor_plugin_slurm"
DAEMONS = 3
PATIENCE = 60
"""Seconds within which the daemons are ready, and cancelled jobs have ended."""

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
# Snakemake asks the queue, which forgets a job after so many seconds.
MinJobAge=300
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
# The node may claim more than the machine has: what is tested is the queue.
SlurmdParameters=config_overrides
NodeName=localhost CPUs={cpus} RealMemory=64000 Gres=gpu:1
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE
PartitionName=accelerated Nodes=localhost MaxTime=INFINITE
"""


def what_is_missing() -> str:
    """Return why no SLURM can be started here, and how that is changed; empty if one can."""
    if os.geteuid() != 0:
        return "needs root: munge and SLURM are started on loopback"
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if missing := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        return f"needs {', '.join(missing)}: apt-get install slurm-wlm munge"
    if find_spec(PLUGIN) is None:
        return f"needs {PLUGIN}: pip install -e '.[slurm]'"
    return ""


@dataclass
class Cluster:
    """A running SLURM with one node, the partitions `main` and `accelerated`, and one pretended GPU.

    Attributes
    ----------
    folder : Path
        Holds configuration, key, state and logs.
    cpus : int
        Processors that the node claims.
    """

    folder: Path
    cpus: int
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        # The wrapper of srun comes first on the PATH, see `start`.
        path = f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        return {"SLURM_CONF": f"{self.folder}/slurm.conf", "PATH": path}

    def ask(self, *command: str) -> str:
        """Return what a client of this SLURM prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that has not ended, by its number."""
        lines = self.ask("squeue", "--noheader", "--states=PD,CF,R,S,CG", "--format=%A %T").splitlines()
        return dict(line.split() for line in lines)

    def completed(self) -> list[dict[str, str]]:
        """Return SLURM's record of every job that has ended: JobId, JobState, TimeLimit, StartTime, ..."""
        record = self.folder / "completed"
        lines = record.read_text().splitlines() if record.exists() else []
        return [dict(item.split("=", 1) for item in line.split() if "=" in item) for line in lines]

    def start(self) -> None:
        """Start the three daemons, and wait until the node takes jobs."""
        for name in ("munge", "state", "spool", "bin"):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        ports = dict(zip(("controller_port", "node_port"), _free_ports(2), strict=True))
        configuration = CONFIGURATION.format(folder=self.folder, cpus=self.cpus, **ports)
        (self.folder / "slurm.conf").write_text(configuration)
        (self.folder / "gres.conf").write_text("NodeName=localhost Name=gpu File=/dev/null\n")
        # The plugin's job steps drop SLURM_CONF from the environment; a configuration in /etc would not need it.
        wrapper = self.folder / "bin" / "srun"
        original = shutil.which("srun", path=self.environment["PATH"])
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {original} "$@"\n')
        wrapper.chmod(0o755)
        munge = {name: self.folder / "munge" / name for name in ("socket", "pid", "log", "seed")}
        self._launch(
            *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge['socket']}"),
            *(f"--pid-file={munge['pid']}", f"--log-file={munge['log']}", f"--seed-file={munge['seed']}"),
        )
        _wait_for(munge["socket"].exists, "munged")
        self._launch("slurmctld", "-D")
        self._launch("slurmd", "-D", "-N", "localhost")
        _wait_for(self._idle, f"the node (see {self.folder}/slurmd.log)")

    def stop(self) -> None:
        """Cancel what is at work and end the daemons, the last one first; nothing is left behind."""
        try:
            if len(self._daemons) == DAEMONS:
                self.ask("scancel", "--user=root", "--full")
                _wait_for(lambda: not self.jobs(), "the end of the jobs")
        finally:
            while self._daemons:
                daemon = self._daemons.pop()
                daemon.terminate()
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def _launch(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as output:
            self._daemons.append(
                # Ended by the kernel where this process is killed and cannot stop them; where a person interrupts the
                # tests, only these are told, which cancel the jobs first.
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", *command],
                    env=os.environ | self.environment,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _idle(self) -> bool:
        try:
            return "idle" in self.ask("sinfo", "--noheader", "--format=%T")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False


@contextmanager
def running(folder: Path, cpus: int = 2) -> Iterator[Cluster]:
    """Start a SLURM in an empty folder, and stop it whatever happens."""
    cluster = Cluster(folder.resolve(), cpus)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: waited {PATIENCE} s in vain")
        time.sleep(0.2)


if __name__ == "__main__":
    if reason := what_is_missing():
        sys.exit(reason)
    place = Path(sys.argv[1])
    place.mkdir(parents=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    with running(place, int(sys.argv[2])) as own:
        print(*(f"export {name}={value}" for name, value in own.environment.items()), sep="\n", flush=True)
        signal.pause()
