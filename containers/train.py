"""`make train-FAMILY`: run one training where ENGINE says, with the same words everywhere.

    python containers/train.py n2v [--engine docker] -- --data FOLDER --name NAME …

local       this machine's virtual environment
docker      a container of the training image; podman likewise
apptainer   the same image as a .sif file, on a machine without root
slurm       a batch job, which uses apptainer or the virtual environment on its node
kubernetes  a Job on the cluster that kubectl reaches

Folders and files that are named keep their paths inside the container and are read-only there; one
folder of MICSERVE_HOME, where runs are kept, is written. Knows command lines, trains nothing.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import build
import slurm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONTAINERS = ("docker", "podman")
ENGINES = ("local", *CONTAINERS, "apptainer", "slurm", "kubernetes")
TAKEN = (
    "/app",
    "/bin",
    "/etc",
    "/lib",
    "/opt/venv",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/micserve",
)
"""Folders that a container has of its own; data from there would hide them."""


class RefusalError(Exception):
    """What a person can change, in one sentence."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make train-…", description=__doc__.split("\n")[0])
    parser.add_argument("family", choices=families())
    parser.add_argument("--engine", choices=["", *ENGINES], default="")
    parser.add_argument("--device", choices=["", "cpu", "gpu"], default="")
    parser.add_argument("--which", action="store_true", help="say which engine it would be")
    parser.epilog = "What stands after -- goes to the trainer."
    mark = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked, arguments = parser.parse_args(sys.argv[1:mark]), sys.argv[mark + 1 :]
    engine = asked.engine or usual_engine(asked.family, asked.device)
    if asked.which:
        print(engine)
        return 0
    try:
        command = command_for(engine, asked.family, asked.device, arguments)
    except RefusalError as refusal:
        print(refusal, file=sys.stderr)
        return 2
    if engine == "slurm":
        return slurm.run(command, asked.family, asked.device)
    # In our place, so that Ctrl-C and a scheduler's signals reach the training itself.
    return os.execvp(command[0], command)


def command_for(engine: str, family: str, device: str, arguments: list[str]) -> list[str]:
    """The program to start; for slurm what the batch script starts on its node."""
    if engine in CONTAINERS:
        return container_command(engine, family, device, arguments)
    if engine == "apptainer":
        return apptainer_command(family, device, arguments)
    if engine == "slurm":
        has_file = sif(family, device).exists() or sif(family, "cpu").exists()
        return command_for("apptainer" if has_file else "local", family, device, arguments)
    if engine == "kubernetes":
        program = "services.gateway.executors.kubernetes_training"
        return [str(ROOT / ".venvs/serve/bin/python"), "-m", program, family, *arguments]
    return [
        str(ROOT / f".venvs/{stack(family)}/bin/python"),
        "-m",
        f"training.{family}",
        *arguments,
    ]


def families() -> dict[str, str]:
    """Family to the name of its training image."""
    return {f: name for name, image in build.images().items() for f in image.get("families", ())}


def stack(family: str) -> str:
    return families()[family].removeprefix("train-")


def usual_engine(family: str, device: str) -> str:
    """A container where an engine runs and has the image; else this machine's environment."""
    for engine in CONTAINERS:
        if shutil.which(engine) and _has_image(engine, image_for(engine, family, device)):
            return engine
    return "local"


def image_for(engine: str, family: str, device: str) -> str:
    """The GPU image on a machine with a GPU, where it is there; else the CPU image."""
    name = families()[family]
    image = build.images()[name]
    gpu = build.reference(name, image, "gpu")
    if device == "gpu" or (device == "" and has_gpu() and _has_image(engine, gpu)):
        return gpu
    return build.reference(name, image, "cpu")


def container_command(engine: str, family: str, device: str, arguments: list[str]) -> list[str]:
    """`docker run` with nothing but what a training needs.

    Raises
    ------
    RefusalError
        Where the engine, the image or the GPU is missing, or data lies where it cannot.
    """
    if shutil.which(engine) is None:
        raise RefusalError(
            f"{engine} is not installed here; choose another ENGINE, or ENGINE=local."
        )
    image = image_for(engine, family, device)
    if not _has_image(engine, image):
        name = families()[family]
        raise RefusalError(
            f"{engine} has no image {image}. Build it: make images IMAGES={name} ENGINE={engine}"
            f"{' DEVICE=gpu' if image.endswith('-gpu') else ''}"
        )
    command = [engine, "run", "--rm", "--read-only", "--tmpfs", "/tmp:rw,mode=1777"]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    # The registry's address means the same inside as outside.
    command += ["--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"]
    if engine == "podman" and os.getuid():
        command += ["--userns", "keep-id"]
    if image.endswith("-gpu"):
        command += ["--gpus", "all"] if engine == "docker" else ["--device", "nvidia.com/gpu=all"]
    if sys.stdout.isatty() and sys.stdin.isatty():
        command += ["--interactive", "--tty"]
    command += ["--volume", f"{runs_folder()}:/var/lib/micserve/training"]
    command += [
        word for path in named_paths(arguments) for word in ("--volume", f"{path}:{path}:ro")
    ]
    for name in passed_on():
        command += ["--env", name]
    return [*command, image, f"training.{family}", *with_absolute_paths(arguments)]


def apptainer_command(family: str, device: str, arguments: list[str]) -> list[str]:
    """The same image as a file: apptainer keeps the user's uid by itself."""
    program = shutil.which("apptainer") or shutil.which("singularity") or "apptainer"
    file = sif(family, device)
    if not file.exists():
        file = sif(family, "cpu")
    if not file.exists():
        raise RefusalError(f"There is no {file}; containers/apptainer.md says how it is made.")
    command = [program, "exec", "--containall", "--no-home", "--pwd", "/app"]
    command += ["--nv"] if file == sif(family, "gpu") else []
    command += ["--bind", f"{runs_folder()}:/var/lib/micserve/training"]
    for path in named_paths(arguments):
        command += ["--bind", f"{path}:{path}:ro"]
    for name in passed_on():
        command += ["--env", f"{name}={os.environ[name]}"]
    module = f"training.{family}"
    return [*command, str(file), "python", "-m", module, *with_absolute_paths(arguments)]


def sif(family: str, device: str) -> Path:
    """Where the image file of a family's trainer is looked for."""
    folder = Path(os.environ.get("MICSERVE_SIF") or HERE / "sif")
    gpu = device == "gpu" or (device == "" and has_gpu())
    return folder / f"micserve-{families()[family]}{'-gpu' if gpu else ''}.sif"


def runs_folder() -> Path:
    folder = Path(os.environ.get("MICSERVE_HOME") or ROOT / "var").absolute() / "training"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def passed_on() -> list[str]:
    """Settings that a trainer reads, of those that are set."""
    names = ("MICSERVE_REGISTRY", "MLFLOW_DISABLE_TELEMETRY", "USER", "COLUMNS")
    return [name for name in names if os.environ.get(name)]


def named_paths(arguments: list[str]) -> list[str]:
    """Folders and files among a trainer's arguments, absolute; what lies in another is left out."""
    found = sorted({str(Path(word).resolve()) for word in arguments if _is_path(word)}, key=len)
    for path in found:
        if path == "/" or any(path == own or path.startswith(f"{own}/") for own in TAKEN):
            raise RefusalError(
                f"{path} is a folder that a container has of its own. Put the images into another "
                "folder, or train with ENGINE=local."
            )
    kept: list[str] = []
    for path in found:
        if not any(path.startswith(f"{above}/") for above in kept):
            kept.append(path)
    return kept


def with_absolute_paths(arguments: list[str]) -> list[str]:
    return [str(Path(word).resolve()) if _is_path(word) else word for word in arguments]


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and build.runs(["nvidia-smi", "-L"])


def _is_path(word: str) -> bool:
    """Whether a word names something on this machine; a bare name is a model, not a file."""
    return ("/" in word or word in (".", "..") or Path(word).is_dir()) and Path(word).exists()


def _has_image(engine: str, image: str) -> bool:
    return build.runs([engine, "image", "inspect", image])


if __name__ == "__main__":
    sys.exit(main())
