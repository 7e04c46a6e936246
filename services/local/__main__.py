"""`python -m services.local up | down | status`: all of micserve as processes of one machine.

supervisord keeps the processes alive; this module only starts it, waits until
every part says it is ready, and says where to look when one does not.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import httpx
import psutil
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console

from micserve.families import FAMILIES
from micserve.registry.server import server_command, server_environment

READY_WITHIN_S = 180
"""MLflow makes its database on the first start, which takes most of this on a slow disk."""

MARK = "MICSERVE_SUPERVISED"
"""Variable that every process of a local stack has, with the stack's folder."""

console = Console(highlight=False)


class LocalSettings(BaseSettings):
    """All variables start with `MICSERVE_`: MICSERVE_HOME, MICSERVE_GATEWAY_PORT, …"""

    model_config = SettingsConfigDict(env_prefix="MICSERVE_", frozen=True, extra="ignore")

    home: Path = Path("var")
    """Folder of everything that micserve writes."""
    service_host: str = "127.0.0.1"
    """Address that an inference service listens on: in a container, all of its own."""
    gateway_port: int = 8000
    registry_port: int = 8010
    n2v_port: int = 8011
    care_port: int = 8012
    stardist_port: int = 8013
    unet_port: int = 8014
    fnet_port: int = 8015


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack."""

    name: str
    what: str
    command: tuple[str, ...]
    port: int
    ready_path: str = "/readyz"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        try:
            return httpx.get(self.address + self.ready_path, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def parts(settings: LocalSettings) -> tuple[Part, ...]:
    """In the order in which people look for them; they start together and wait for each other."""
    this = (sys.executable, "-m", "services.local")
    registry = Part(
        "registry",
        "model versions and training runs",
        (*this, "registry"),
        settings.registry_port,
        "/health",
    )
    services = (
        Part(
            family.name,
            f"{family.title} inference",
            (*this, "serve", family.name),
            getattr(settings, f"{family.name}_port"),
        )
        for family in FAMILIES.values()
    )
    gateway = Part(
        "gateway",
        "the one address for Fiji and scripts",
        (sys.executable, "-m", "services.gateway"),
        settings.gateway_port,
    )
    return registry, *services, gateway


def main() -> int:
    parser = argparse.ArgumentParser(prog="make", description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["up", "down", "status", "registry", "serve"])
    parser.add_argument("family", nargs="?", choices=sorted(FAMILIES), help="of `serve`")
    parser.add_argument("--quiet", action="store_true", help="say only what is wrong")
    command = parser.parse_args()
    settings = LocalSettings()
    console.quiet = command.quiet
    match command.command:
        case "up":
            return up(settings)
        case "down":
            return down(settings)
        case "registry":
            return registry(settings)
        case "serve":
            return serve(settings, command.family)
        case _:
            return status(settings)


def up(settings: LocalSettings) -> int:
    """Start what is not running, and return when all of it is ready."""
    home = settings.home.absolute()
    for folder in ("run", "logs", "registry"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    supervisor = _running_supervisor(home)
    if supervisor is None:
        _end_what_was_left_behind(home)
        if not _ports_are_free(settings):
            return 1
        supervisor = _start_supervisor(settings, home)
    return _wait_until_ready(settings, supervisor)


def down(settings: LocalSettings) -> int:
    """Let running predictions end, then stop everything that `up` started.

    Trainings would go on without the registry that they publish to; they are halted instead, and
    the next `up` goes on with each at its last whole epoch.
    """
    supervisor = _running_supervisor(settings.home.absolute())
    if supervisor is None:
        console.print("micserve is not running.")
        return 0
    with console.status("Stopping micserve …"):
        supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(timeout=90)
        except psutil.TimeoutExpired:
            _complain(f"micserve (process {supervisor.pid}) does not stop; end it by hand.")
            return 1
    _end_what_was_left_behind(settings.home.absolute())
    console.print("micserve is stopped.")
    return 0


def status(settings: LocalSettings) -> int:
    """Say of each part whether it is ready."""
    ready = {part: part.is_ready() for part in parts(settings)}
    for part, is_ready in ready.items():
        state = "[green]ready[/]" if is_ready else "[red]away [/]"
        console.print(f"  {state}  {part.name:<9} {part.address:<24} {part.what}")
    return 0 if all(ready.values()) else 1


def registry(settings: LocalSettings) -> int:
    """Become the registry's server; what the supervisor runs."""
    folder = settings.home.absolute() / "registry"
    command = server_command(folder, port=settings.registry_port)
    os.execve(command[0], command, server_environment(os.environ))


def serve(settings: LocalSettings, family: str) -> int:
    """Become the inference service of one family; what the supervisor and a container run."""
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    port = getattr(settings, f"{family}_port")
    address = ("--host", settings.service_host, "--port", str(port))
    os.execv(bentoml, (bentoml, "serve", f"services.{family}.service", *address))


def configuration(settings: LocalSettings) -> str:
    """What supervisord reads: keep every part alive, log it, stop it with all its children."""
    home = settings.home.absolute()
    ini = ConfigParser(interpolation=None)
    ini["supervisord"] = {
        "pidfile": str(home / "run" / "supervisord.pid"),
        "logfile": str(home / "logs" / "supervisord.log"),
        "logfile_maxbytes": "5MB",
        "childlogdir": str(home / "logs"),
    }
    for part in parts(settings):
        ini[f"program:{part.name}"] = {
            "command": shlex.join(part.command),
            "autorestart": "true",
            "startsecs": "3",
            "stopwaitsecs": "60",
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(home / "logs" / f"{part.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
        }
    text = StringIO()
    ini.write(text)
    return text.getvalue().replace("%", "%%")


def _start_supervisor(settings: LocalSettings, home: Path) -> psutil.Process:
    environment = {
        **os.environ,
        MARK: str(home),
        "MICSERVE_HOME": str(home),
        "MICSERVE_REGISTRY": f"http://127.0.0.1:{settings.registry_port}",
        "BENTOML_DO_NOT_TRACK": "true",
        **{
            f"MICSERVE_{name.upper()}": str(value)
            for name, value in settings.model_dump().items()
            if name.endswith("_port")
        },
    }
    file = home / "run" / "supervisord.conf"
    file.write_text(configuration(settings), encoding="utf-8")
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(file), "-n"]
    with (home / "logs" / "supervisord.out").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return psutil.Process(process.pid)


def _wait_until_ready(settings: LocalSettings, supervisor: psutil.Process) -> int:
    waiting = list(parts(settings))
    deadline = time.monotonic() + READY_WITHIN_S
    with console.status("") as spinner:
        while waiting:
            spinner.update("Starting " + ", ".join(part.name for part in waiting) + " …")
            if not _is_alive(supervisor) or time.monotonic() > deadline:
                return _explain(waiting[0], settings)
            if waiting[0].is_ready():
                part = waiting.pop(0)
                console.print(f"  [green]ready[/]  {part.name:<9} {part.address:<24} {part.what}")
            else:
                time.sleep(0.3)
    return 0


def _explain(part: Part, settings: LocalSettings) -> int:
    log = settings.home.absolute() / "logs" / f"{part.name}.log"
    _complain(f"{part.name} did not become ready. The end of {log}:")
    if log.exists():
        print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)
    return 1


def _running_supervisor(home: Path) -> psutil.Process | None:
    pidfile = home / "run" / "supervisord.pid"
    try:
        process = psutil.Process(int(pidfile.read_text()))
        ours = "supervisor.supervisord" in process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return process if ours and _is_alive(process) else None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _ports_are_free(settings: LocalSettings) -> bool:
    listening = {
        connection.laddr.port: connection.pid
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    for part in parts(settings):
        if part.port in listening:
            pid = listening[part.port]
            who = f" by process {pid}" if pid else ""
            _complain(
                f"Port {part.port}, which {part.name} needs, is taken{who}. Stop that program, or "
                f"choose another port: MICSERVE_{part.name.upper()}_PORT=… make up"
            )
            return False
    return True


def _end_what_was_left_behind(home: Path) -> None:
    """A supervisor that was killed leaves its processes; they carry our folder's name."""
    left = [process for process in psutil.process_iter() if _was_started_for(process, home)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=30)


def _was_started_for(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.environ().get(MARK) == str(home))
    except (psutil.Error, OSError):
        return False


def _complain(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
