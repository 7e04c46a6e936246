"""Jobs on a Slurm cluster: `sbatch` to submit, `squeue` and `sacct` to look, `scancel` to end.

Slurm keeps the queue, the limits and the accounts of GPUs; this module keeps nothing. The job's
folder must be on a disk that the nodes see under the same path, as must the code and the
training environments. What Slurm has forgotten is in the folder: the exit status, or that
somebody cancelled it.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence

from micserve.errors import ExecutorUnavailableError
from micserve.files import publish_file, said_when_full
from services.gateway.executors.base import EXIT, LOG, Task, TaskState, exit_status, tail_of
from services.gateway.executors.commands import Commands

WITHIN_S = 20.0
"""For one call of Slurm's programs."""
ENDS_WITHIN_S = 10.0
"""Between scancel's SIGTERM and our SIGKILL, where the site's KillWait is longer."""
CANCELLED = "cancelled"

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED"})
GONE = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"})
"""The program did nothing wrong: it may be started again."""

AWAY = ("Unable to contact slurm controller", "Connection refused", "Socket timed out")
"""What Slurm's programs say when the controller is down."""

REASONS: Mapping[str, str] = {
    "Priority": "Jobs with a higher priority are before it in the cluster's queue.",
    "Resources": "It waits for a free GPU or node of the cluster.",
    "Dependency": "It waits for another job.",
    "PartitionDown": "The cluster's partition is down; the facility's staff knows more.",
    "ReqNodeNotAvail": "The node that it needs is down or reserved.",
    "AssocGrpGRES": "The group uses as many GPUs as it may.",
    "QOSMaxJobsPerUserLimit": "As many jobs of this server run as the cluster allows.",
}

SCRIPT = """#!/bin/sh
cd {where} || exit 1
trap : TERM INT
{command} </dev/null
status=$?
echo $status >{folder}/{exit}.part && mv {folder}/{exit}.part {folder}/{exit}
exit $status
"""


class SlurmExecutor:
    """The `Executor` of a Slurm cluster.

    Parameters
    ----------
    options
        For `sbatch`: partition, GPUs, time limit, as in `--partition=gpu --gres=gpu:1`.
    """

    name = "slurm"

    def __init__(self, commands: Commands, *, options: str = "") -> None:
        self._commands, self._options = commands, shlex.split(options)

    def submit(self, task: Task) -> str:
        """Hand it to sbatch, unless a killed gateway already did."""
        name = f"micserve-{task.id[:12]}-{task.attempt}"
        known = self._slurm("squeue", "--noheader", f"--name={name}", "--format=%A").split()
        if known:
            return known[0]
        for old in (EXIT, CANCELLED):
            (task.folder / old).unlink(missing_ok=True)
        script = task.folder / "job.sh"
        with said_when_full("The job"), publish_file(script) as part:
            part.write_text(self._script(task), encoding="utf-8")
        words = ["--parsable", f"--job-name={name}", f"--output={task.folder / LOG}"]
        words += ["--open-mode=append", "--no-requeue", *self._options, str(script)]
        environment = {**self._commands.inherited(), **task.environment}
        said = self._slurm("sbatch", *words, environment=environment)
        return said.strip().partition(";")[0]

    def state(self, task: Task, handle: str) -> TaskState:
        status = exit_status(task.folder)
        if status is not None and not (task.folder / CANCELLED).exists():
            return "succeeded" if status == 0 else "failed"
        said = self._state(handle)
        if said in WAITING:
            return "waiting"
        if said in RUNNING:
            return "running"
        if said == "CANCELLED" or (task.folder / CANCELLED).exists():
            return "cancelled"
        if said == "COMPLETED":
            return "succeeded"
        return "lost" if said in GONE or not said else "failed"

    def cancel(self, task: Task, handle: str) -> None:
        """scancel, and harder where the program takes its time."""
        if exit_status(task.folder) is not None:
            return
        (task.folder / CANCELLED).touch()
        self._slurm("scancel", handle)
        deadline = time.monotonic() + ENDS_WITHIN_S
        while self._state(handle) in WAITING | RUNNING:
            if time.monotonic() > deadline:
                self._slurm("scancel", "--signal=KILL", "--full", handle)
                return
            time.sleep(0.3)

    def log_tail(self, task: Task, handle: str, lines: int) -> list[str]:
        return tail_of(task.folder / LOG, lines)

    def position(self, task: Task, handle: str) -> int | None:
        """Among all jobs that wait in the cluster, the highest priority first."""
        words = ("--noheader", "--states=PENDING", "--sort=-p,i", "--format=%A")
        waiting = self._slurm("squeue", *words).split()
        return waiting.index(handle) + 1 if handle in waiting else None

    def why_waiting(self, task: Task, handle: str) -> str:
        said = self._slurm("squeue", "--noheader", f"--jobs={handle}", "--format=%r", bad=True)
        reason = said.strip()
        if reason in ("", "None"):
            return ""
        return REASONS.get(reason, f"It waits in the cluster's queue ({reason}).")

    def forget(self, task: Task, handle: str) -> None:
        """Slurm forgets by itself."""

    def close(self) -> None:
        """Nothing is open."""

    def _script(self, task: Task) -> str:
        return SCRIPT.format(
            where=shlex.quote(str(self._commands.folder)),
            command=shlex.join(self._commands.of(task)),
            folder=shlex.quote(str(task.folder)),
            exit=EXIT,
        )

    def _state(self, handle: str) -> str:
        """As Slurm has it; by sacct once squeue has forgotten; empty when nobody knows."""
        said = self._slurm(
            "squeue", "--noheader", "--states=all", f"--jobs={handle}", "--format=%T", bad=True
        ).split()
        if not said:
            words = ("--noheader", "--allocations", f"--jobs={handle}", "--format=State%30")
            said = self._slurm("sacct", *words, bad=True).split()
        return said[0].rstrip("+") if said else ""

    def _slurm(
        self,
        program: str,
        *words: str,
        environment: Mapping[str, str] | None = None,
        bad: bool = False,
    ) -> str:
        """What one of Slurm's programs prints.

        Parameters
        ----------
        bad
            That it refuses counts as printing nothing: a job that it has forgotten is an error
            to squeue, and sacct refuses where the site keeps no accounts. A controller that does
            not answer is an error all the same.

        Raises
        ------
        ExecutorUnavailableError
        """
        try:
            done = subprocess.run(
                [program, *words],
                env=dict(environment) if environment is not None else dict(os.environ),
                capture_output=True,
                text=True,
                timeout=WITHIN_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise ExecutorUnavailableError(
                f"This server is to run trainings with Slurm, but has no program {program}. The "
                "facility's staff can install Slurm's client, or set MICSERVE_EXECUTOR=local."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise _away(f"{program} took more than {WITHIN_S:.0f} s") from error
        if done.returncode == 0 or (bad and not _is_away(done.stderr)):
            return done.stdout if done.returncode == 0 else ""
        raise _away(_last(done.stderr.splitlines()) or f"{program} ended with {done.returncode}")


def _is_away(said: str) -> bool:
    return any(words in said for words in AWAY)


def _last(lines: Sequence[str]) -> str:
    return lines[-1].strip().rstrip(".") if lines else ""


def _away(reason: str) -> ExecutorUnavailableError:
    return ExecutorUnavailableError(
        f"The cluster does not take or show jobs now: {reason}. Try again in a minute; if it stays "
        "so, tell the facility's staff, who look with sinfo and squeue."
    )
