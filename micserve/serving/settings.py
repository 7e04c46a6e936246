"""How one inference service runs on one machine: read from the environment, all in `MICSERVE_*`.

Names, defaults and sentences are shown in `docs/settings.md`; a test compares.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)
from pydantic_settings import NoDecode

from micserve.backends import Provider
from micserve.registry import RegistrySettings

MIB = 1 << 20


class ServingSettings(RegistrySettings):
    """What inference services and the gateway have in common."""

    scratch: Path | None = Field(
        default=None,
        description="Folder for uploads and results while a request lasts; by default `scratch` "
        "below MICSERVE_HOME. Put it on a fast disk with room for the largest image, twice.",
    )
    max_request_mib: PositiveInt = Field(
        default=4096, description="Largest upload, in MiB; more is answered 413."
    )
    spool_mib: NonNegativeInt = Field(
        default=32,
        description="Uploads and results up to this size, in MiB, stay in memory; larger ones go "
        "through files in the scratch folder.",
    )
    upload_patience_s: PositiveFloat = Field(
        default=30.0, description="Seconds without a byte after which an upload is given up."
    )
    log_level: str = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR; logs are JSON, one per line."
    )

    @property
    def scratch_folder(self) -> Path:
        return (self.scratch or self.home / "scratch").absolute()

    @property
    def max_request_bytes(self) -> int:
        return self.max_request_mib * MIB

    @property
    def spool_bytes(self) -> int:
        return self.spool_mib * MIB


class ServiceSettings(ServingSettings):
    """One inference service."""

    provider: Provider = Field(
        default="auto",
        validation_alias=AliasChoices("MICSERVE_PROVIDER", "PROVIDER"),
        description="Where networks run: `cpu`; `cuda`, and the service refuses to start where "
        "there is none; or `auto`, CUDA if there is one, else the CPU. PROVIDER is read too.",
    )
    threads: NonNegativeInt = Field(
        default=0, description="CPU threads of one network run; 0 for all cores."
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Models that must be loaded before the service is ready, with commas between; "
        "by default every model of the family that has a `production` version, as far as "
        "MICSERVE_NETWORKS_MIB goes.",
    )
    networks_mib: PositiveInt = Field(
        default=2048,
        description="Memory for loaded networks, in MiB; the one that was used longest ago is "
        "dropped first, and never one that is in use.",
    )
    max_image_mib: PositiveInt = Field(
        default=16384, description="Largest decoded image, in MiB; more is answered 413."
    )
    concurrency: PositiveInt = Field(
        default=1, description="Predictions that run at the same time."
    )
    queue: NonNegativeInt = Field(
        default=8,
        description="Predictions that may wait; one more is answered 503 with Retry-After.",
    )
    tile_pixels: PositiveInt | None = Field(
        default=None,
        description="Largest number of pixels or voxels that a network sees at a time; less takes "
        "less memory and never changes a result. By default 1048576 pixels of an image, 2097152 "
        "voxels of a stack.",
    )
    poll_s: PositiveFloat = Field(
        default=10.0, description="Seconds between two looks for newly promoted versions."
    )

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @property
    def max_image_bytes(self) -> int:
        return self.max_image_mib * MIB

    @property
    def networks_bytes(self) -> int:
        return self.networks_mib * MIB
