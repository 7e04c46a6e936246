"""How the gateway runs: read from the environment, all in `MICSERVE_*`; see `docs/settings.md`."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)

from micserve.families import FAMILIES
from micserve.serving.settings import ServingSettings
from services.gateway.data.places import parse_roots


def _address(title: str) -> Any:
    return Field(
        default=None,
        description=f"Where the {title} service is, or its replicas with commas between; by "
        "default its port on this machine.",
    )


def _port(number: int, title: str) -> Any:
    return Field(default=number, description=f"Port of the {title} service on this machine.")


class GatewaySettings(ServingSettings):
    """One door for all families."""

    gateway_host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. On anything but this machine's own, accounts are on.",
    )
    gateway_public: bool = Field(
        default=False,
        description="Set to true to listen on an address that other machines reach without "
        "accounts: whoever reaches the gateway may use it.",
    )
    accounts: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether people need a token or a login: `on`, `off`, or `auto`, which is on "
        "when other machines reach the gateway and MICSERVE_GATEWAY_PUBLIC is not set. Set it to "
        "`on` behind a reverse proxy.",
    )
    session_hours: PositiveFloat = Field(
        default=168.0, description="Hours after which a login in the browser ends."
    )
    person_max_jobs: NonNegativeInt = Field(
        default=4, description="Jobs that one person may have waiting or running."
    )
    person_requests_per_minute: PositiveInt = Field(
        default=1200, description="Requests that one person may send in a minute."
    )
    person_data_mib: PositiveInt = Field(
        default=102400, description="What one person may keep in data sets, in MiB."
    )
    data: Path | None = Field(
        default=None,
        description="Folder of people's data sets; by default `data` below MICSERVE_HOME. Jobs "
        "must see it under the same path.",
    )
    data_roots: str = Field(
        default="",
        description="Folders that everybody may train on and predict, read only: "
        "`name=/absolute/folder`, with commas between several.",
    )
    executor: Literal["local", "slurm", "kubernetes"] = Field(
        default="local",
        description="Where trainings run: `local`, as processes of this machine; `slurm`; or "
        "`kubernetes`. Predictions are sent to the inference services from here.",
    )
    slurm_options: str = Field(
        default="",
        description="Options of `sbatch` with MICSERVE_EXECUTOR=slurm, as in `--partition=gpu "
        "--gres=gpu:1 --time=1-00:00:00`.",
    )
    jobs: Path | None = Field(
        default=None,
        description="Folder of jobs, their logs and results; by default `jobs` below "
        "MICSERVE_HOME. Jobs must see it under the same path.",
    )
    kubernetes_namespace: str = Field(
        default="",
        description="Namespace of training Jobs with MICSERVE_EXECUTOR=kubernetes; by default the "
        "gateway's own, or that of the kubeconfig.",
    )
    kubernetes_queue: str = Field(
        default="",
        description="Kueue's LocalQueue that training Jobs wait in; empty where Kueue is not used.",
    )
    venvs: Path | None = Field(
        default=None,
        description="Folder of the training environments that `make setup-n2v` and so on make; by "
        "default `.venvs` beside the code.",
    )
    trainings: NonNegativeInt = Field(
        default=0,
        description="Trainings that run at the same time with MICSERVE_EXECUTOR=local; 0 for one "
        "per GPU, or one where there is none.",
    )
    predictions: PositiveInt = Field(
        default=1, description="Prediction jobs that run at the same time; others wait."
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="Address of an OpenID Connect provider, for a login with the institute's "
        "account; `/.well-known/openid-configuration` is looked for below it.",
    )
    oidc_client_id: str = Field(default="", description="What the provider calls this server.")
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""), description="What the provider gave this server to prove itself."
    )
    oidc_name_claim: str = Field(
        default="preferred_username",
        description="Claim that becomes the person's name; `email` and `sub` are tried after it.",
    )
    oidc_groups_claim: str = Field(
        default="groups", description="Claim with the list of the person's groups."
    )
    oidc_maintainers: str = Field(
        default="", description="Group of the provider whose members are maintainers."
    )
    oidc_admins: str = Field(
        default="", description="Group of the provider whose members are admins."
    )
    gateway_port: PositiveInt = Field(default=8000, description="Port to listen on.")
    n2v_url: str | None = _address("Noise2Void")
    n2v_port: PositiveInt = _port(8011, "Noise2Void")
    care_url: str | None = _address("CARE")
    care_port: PositiveInt = _port(8012, "CARE")
    stardist_url: str | None = _address("StarDist")
    stardist_port: PositiveInt = _port(8013, "StarDist")
    unet_url: str | None = _address("U-Net")
    unet_port: PositiveInt = _port(8014, "U-Net")
    fnet_url: str | None = _address("fnet")
    fnet_port: PositiveInt = _port(8015, "fnet")
    model_urls: str = Field(
        default="",
        description="Models that have a service of their own: `n2v-spots=http://host:8011`, with "
        "commas between; all others go to their family's service.",
    )
    alias_s: PositiveFloat = Field(
        default=1.5,
        description="Seconds for which an alias is taken for granted before the registry is asked "
        "again.",
    )
    connect_patience_s: PositiveFloat = Field(
        default=3.0,
        description="Seconds for which a service that does not listen is tried again, for example "
        "while it restarts, before the answer is 503.",
    )
    quality_processes: PositiveInt = Field(
        default=1, description="Quality reports that are computed at the same time."
    )
    quality_queue: PositiveInt = Field(
        default=4, description="Quality reports that may wait; one more is answered 503."
    )

    @model_validator(mode="after")
    def _refuse_strangers(self) -> Self:
        if self.accounts == "off" and not self.gateway_public and self.is_reached_by_others:
            raise ValueError(
                f"the gateway will not listen on {self.gateway_host} without accounts: other "
                "machines reach that address, and whoever reaches the gateway may use it. Leave "
                "MICSERVE_ACCOUNTS at auto, or set MICSERVE_GATEWAY_PUBLIC=true if that is what "
                "you want"
            )
        return self

    @field_validator("data_roots")
    @classmethod
    def _refuse_unclear_roots(cls, value: str) -> str:
        parse_roots(value)
        return value

    @property
    def data_folder(self) -> Path:
        return (self.data or self.home / "data").absolute()

    @property
    def jobs_folder(self) -> Path:
        return (self.jobs or self.home / "jobs").absolute()

    @property
    def venvs_folder(self) -> Path:
        return (self.venvs or Path(__file__).resolve().parents[2] / ".venvs").absolute()

    @property
    def job_environment(self) -> dict[str, str]:
        """What a job must know of this server, wherever it runs."""
        return {
            "MICSERVE_HOME": str(self.home.absolute()),
            "MICSERVE_REGISTRY": self.uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    @property
    def roots(self) -> Mapping[str, Path]:
        return parse_roots(self.data_roots)

    @property
    def person_data_bytes(self) -> int:
        return self.person_data_mib << 20

    @property
    def is_reached_by_others(self) -> bool:
        return not _is_loopback(self.gateway_host)

    @property
    def accounts_on(self) -> bool:
        if self.accounts == "auto":
            return self.is_reached_by_others and not self.gateway_public
        return self.accounts == "on"

    @property
    def upstreams(self) -> dict[str, tuple[str, ...]]:
        """Family to the addresses of its service's replicas, without a slash at the end."""
        return {family: self._addresses_of(family) for family in FAMILIES}

    @property
    def dedicated(self) -> dict[str, tuple[str, ...]]:
        """Model to the addresses of the service that serves it alone."""
        found: dict[str, tuple[str, ...]] = {}
        for entry in _listed(self.model_urls):
            name, _, url = entry.partition("=")
            found[name] = (*found.get(name, ()), url.rstrip("/"))
        return found

    @model_validator(mode="after")
    def _refuse_half_an_entry(self) -> Self:
        for entry in _listed(self.model_urls):
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]*=https?://\S+", entry):
                raise ValueError(
                    f"MICSERVE_MODEL_URLS holds {entry!r}; write name=http://host:port, with "
                    "commas between"
                )
        return self

    def _addresses_of(self, family: str) -> tuple[str, ...]:
        urls = _listed(getattr(self, f"{family}_url") or "")
        port: int = getattr(self, f"{family}_port")
        return tuple(url.rstrip("/") for url in urls) or (f"http://127.0.0.1:{port}",)


def _listed(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
