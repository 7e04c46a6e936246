"""From settings to executors: trainings where the operator says, predictions on this machine."""

from collections.abc import Mapping

from services.gateway.executors.base import Executor
from services.gateway.executors.commands import Commands
from services.gateway.executors.local import LocalExecutor
from services.gateway.executors.slurm import SlurmExecutor
from services.gateway.settings import GatewaySettings


def open_executors(settings: GatewaySettings) -> Mapping[str, Executor]:
    """By kind of job. A prediction only sends images to the inference services, which have the
    GPUs, so that it needs no place in a scheduler's queue."""
    local = LocalExecutor(
        settings.jobs_folder,
        Commands(settings.venvs_folder),
        trainings=settings.trainings,
        predictions=settings.predictions,
    )
    trainings: Executor = local
    if settings.executor == "slurm":
        trainings = SlurmExecutor(Commands(settings.venvs_folder), options=settings.slurm_options)
    if settings.executor == "kubernetes":
        # Loaded only where it is wanted: the client takes a second and 60 MB.
        from services.gateway.executors.kubernetes import KubernetesExecutor

        trainings = KubernetesExecutor(
            home=settings.home,
            namespace=settings.kubernetes_namespace,
            queue=settings.kubernetes_queue,
        )
    return {"train": trainings, "predict": local}
