"""A real Slurm of one node on loopback: munged, slurmctld and slurmd as processes of a test.

Debian's `slurm-wlm`, as root, with all of its files in a folder of the test's. Tests are skipped,
with the reason, where it is not installed or we are not root.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import free_port

READY_WITHIN_S = 60

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=5
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=01:00:00 State=UP
"""


class Cluster:
    """One node; jobs that take all of its cores run one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cores = os.cpu_count() or 1
        self._programs: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        for part in ("state", "spool"):
            (self.folder / part).mkdir(parents=True)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        text = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().partition(".")[0],
            controller=free_port(),
            node=free_port(),
            cores=self.cores,
        )
        (self.folder / "slurm.conf").write_text(text)
        self._run(
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            f"--socket={self.folder}/munge.sock",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munge.seed",
        )
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D")
        self._wait()

    def stop(self) -> None:
        self.ask("scancel", "--user=root", "--signal=KILL", "--full")
        for program in reversed(self._programs):
            program.terminate()
            try:
                program.wait(timeout=20)
            except subprocess.TimeoutExpired:
                program.kill()

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def _run(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.out").open("wb") as out:
            program = subprocess.Popen(
                words, env={**os.environ, **self.environment}, stdout=out, stderr=out
            )
        self._programs.append(program)

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.ask("sinfo", "--noheader", "--format=%T") == "idle":
                return
            time.sleep(0.3)
        logs = "\n".join(p.read_text(errors="replace")[-800:] for p in self.folder.glob("*.out"))
        logs += "\n".join(p.read_text(errors="replace")[-800:] for p in self.folder.glob("*.log"))
        self.stop()
        pytest.fail(f"Slurm did not come up:\n{logs}")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The session's cluster."""
    missing = [p for p in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(p) is None]
    if missing:
        pytest.skip(f"no Slurm here ({', '.join(missing)} missing); apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("Slurm's programs are started as root, and we are not root")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.start()
    yield cluster
    cluster.stop()
