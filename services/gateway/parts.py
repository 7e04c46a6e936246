"""What the gateway's routes work with. Every module of routes takes it as `here: Here`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from micserve.registry import Registry, open_registry
from micserve.serving.directory import Directory
from micserve.serving.scratch import Scratch
from micserve.serving.uploads import UploadLimits
from services.gateway.accounts import Accounts, open_accounts
from services.gateway.catalogue import Catalogue
from services.gateway.data.checking import Checker
from services.gateway.data.datasets import Datasets
from services.gateway.data.folders import Roots
from services.gateway.data.library import Library
from services.gateway.executors.choice import open_executors
from services.gateway.jobs.desk import JobDesk
from services.gateway.jobs.spool import Spool
from services.gateway.metrics import GatewayMetrics
from services.gateway.parcels import Parcels
from services.gateway.quality import QualityDesk
from services.gateway.reports_begun import ReportsBegun
from services.gateway.settings import GatewaySettings
from services.gateway.upstream import Upstreams


@dataclass(slots=True)
class Parts:
    """What the routes work with; made when the app starts."""

    settings: GatewaySettings
    directory: Directory
    catalogue: Catalogue
    upstreams: Upstreams
    quality: QualityDesk
    reports_begun: ReportsBegun
    scratch: Scratch
    parcels: Parcels
    limits: UploadLimits
    accounts: Accounts
    library: Library
    checker: Checker
    jobs: JobDesk


def open_parts(
    settings: GatewaySettings, registry: Registry | None, metrics: GatewayMetrics
) -> Parts:
    """What the routes need, from settings; closed by the app."""
    accounts = open_accounts(settings)
    registry = registry or open_registry(settings=settings)
    directory = Directory(registry, alias_seconds=settings.alias_s)
    scratch = Scratch(settings.scratch_folder)
    parcels = Parcels(scratch)
    datasets = Datasets(settings.data_folder, person_bytes=settings.person_data_bytes)
    return Parts(
        settings=settings,
        directory=directory,
        catalogue=Catalogue(directory, may_see=accounts.may_see),
        upstreams=Upstreams(
            settings.upstreams,
            dedicated=settings.dedicated,
            connect_patience_s=settings.connect_patience_s,
            metrics=metrics,
        ),
        quality=QualityDesk(processes=settings.quality_processes, waiting=settings.quality_queue),
        reports_begun=ReportsBegun(),
        scratch=scratch,
        parcels=parcels,
        limits=UploadLimits(
            max_bytes=settings.max_request_bytes,
            spool_bytes=settings.spool_bytes,
            patience_s=settings.upload_patience_s,
        ),
        accounts=accounts,
        library=Library(datasets, Roots(settings.roots)),
        checker=Checker(scratch, parcels),
        jobs=JobDesk(
            registry,
            Spool(settings.jobs_folder, trainings=settings.home.absolute() / "training"),
            open_executors(settings),
        ),
    )


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Here = Annotated[Parts, Depends(_parts)]
Accept = Annotated[str, Header()]
