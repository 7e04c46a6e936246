"""`ENGINE=slurm`: hand a training to Slurm, show its log, and cancel it on Ctrl-C.

Knows `sbatch`, `squeue` and `scancel`. The job's resources are those of slurm/train.sbatch, and
what SBATCH_ARGS adds.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
POLL_S = 2.0
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"}


def run(command: list[str], family: str, device: str) -> int:
    """Submit, follow, and return the training's own exit status; 130 when it was cancelled here."""
    if shutil.which("sbatch") is None:
        print(
            "sbatch is not installed here; run this on a login node of the cluster.",
            file=sys.stderr,
        )
        return 2
    home = Path(os.environ.get("MICSERVE_HOME") or HERE.parent / "var").absolute()
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    submit = ["sbatch", "--parsable", f"--job-name=micserve-{family}", f"--chdir={HERE.parent}"]
    submit += [f"--output={logs}/slurm-%j.log", *shlex.split(os.environ.get("SBATCH_ARGS", ""))]
    submit += ["--gres=gpu:1"] if device == "gpu" else []
    submitted = subprocess.run(
        [*submit, str(HERE / "slurm" / "train.sbatch"), *command], capture_output=True, text=True
    )
    if submitted.returncode:
        print(f"Slurm refused the job: {submitted.stderr.strip()}", file=sys.stderr)
        return 2
    job = submitted.stdout.strip().partition(";")[0]
    log = logs / f"slurm-{job}.log"
    print(f"Slurm job {job}; log {log}; Ctrl-C cancels it.", flush=True)
    try:
        return _follow(job, log)
    except KeyboardInterrupt:
        subprocess.run(["scancel", job])
        print(f"\nJob {job} is cancelled.", file=sys.stderr)
        return 130


def _follow(job: str, log: Path) -> int:
    said = ""
    shown: TextIO | None = None
    while True:
        state, reason, status = _look(job)
        if state == "PENDING" and reason not in (said, "None", ""):
            said = reason
            print(f"The job waits: {reason}.", flush=True)
        if shown is None and log.exists():
            shown = log.open(encoding="utf-8", errors="replace")
        if shown is not None:
            sys.stdout.write(shown.read())
            sys.stdout.flush()
        if state in ENDED:
            break
        time.sleep(POLL_S)
    if state != "COMPLETED" and state != "FAILED":
        print(f"Slurm ended the job: {state}.", file=sys.stderr)
    return status or (0 if state == "COMPLETED" else 1)


def _look(job: str) -> tuple[str, str, int]:
    """State, reason for waiting, exit status."""
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True)
    if shown.returncode:
        # Slurm forgets ended jobs after some minutes.
        return "COMPLETED", "", 0
    facts = dict(word.partition("=")[::2] for word in shown.stdout.split() if "=" in word)
    return facts["JobState"], facts.get("Reason", ""), int(facts["ExitCode"].partition(":")[0])
