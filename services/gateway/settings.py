"""How the gateway runs: read from the environment, all in `MICSERVE_*`; see `docs/settings.md`."""

import ipaddress
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from micserve.families import FAMILIES
from micserve.serving.settings import ServingSettings


class GatewaySettings(ServingSettings):
    """One door for all families."""

    gateway_host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. Anything but this machine's own needs "
        "MICSERVE_GATEWAY_PUBLIC: there are no accounts, whoever reaches the gateway may use it.",
    )
    gateway_public: bool = Field(
        default=False,
        description="Set to true to listen on an address that other machines reach.",
    )
    gateway_port: PositiveInt = Field(default=8000, description="Port to listen on.")
    n2v_url: str | None = Field(
        default=None,
        description="Where the Noise2Void service is; by default this machine, MICSERVE_N2V_PORT.",
    )
    n2v_port: PositiveInt = Field(
        default=8011, description="Port of the Noise2Void service on this machine."
    )
    care_url: str | None = Field(
        default=None,
        description="Where the CARE service is; by default this machine, MICSERVE_CARE_PORT.",
    )
    care_port: PositiveInt = Field(
        default=8012, description="Port of the CARE service on this machine."
    )
    stardist_url: str | None = Field(
        default=None,
        description="Where the StarDist service is; by default this machine, MICSERVE_STARDIST_PORT.",
    )
    stardist_port: PositiveInt = Field(
        default=8013, description="Port of the StarDist service on this machine."
    )
    unet_url: str | None = Field(
        default=None,
        description="Where the U-Net service is; by default this machine, MICSERVE_UNET_PORT.",
    )
    unet_port: PositiveInt = Field(
        default=8014, description="Port of the U-Net service on this machine."
    )
    fnet_url: str | None = Field(
        default=None,
        description="Where the fnet service is; by default this machine, MICSERVE_FNET_PORT.",
    )
    fnet_port: PositiveInt = Field(
        default=8015, description="Port of the fnet service on this machine."
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
        if not self.gateway_public and not _is_loopback(self.gateway_host):
            raise ValueError(
                f"the gateway will not listen on {self.gateway_host}: other machines reach that "
                "address, and whoever reaches the gateway may use it. If that is what you want, "
                "set MICSERVE_GATEWAY_PUBLIC=true"
            )
        return self

    @property
    def upstreams(self) -> dict[str, str]:
        """Family to the address of its service, without a slash at the end."""
        return {family: self._address_of(family) for family in FAMILIES}

    def _address_of(self, family: str) -> str:
        url: str | None = getattr(self, f"{family}_url")
        port: int = getattr(self, f"{family}_port")
        return (url or f"http://127.0.0.1:{port}").rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
