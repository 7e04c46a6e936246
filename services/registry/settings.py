"""How the registry's server runs: read from the environment; see `docs/settings.md`."""

from pathlib import Path

from pydantic import Field, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistryServerSettings(BaseSettings):
    """One tracking server, for all services and trainers."""

    model_config = SettingsConfigDict(env_prefix="MICSERVE_", frozen=True, extra="ignore")

    home: Path = Path("var")
    registry_host: str = Field(
        default="127.0.0.1",
        description="Address that the registry's server listens on. It asks nobody for a "
        "password: keep it where only services and trainers reach it.",
    )
    registry_port: PositiveInt = Field(
        default=8010, description="Port that the registry's server listens on."
    )
    registry_database: SecretStr | None = Field(
        default=None,
        description="Where versions and runs are kept: `postgresql://user:password@host/database`; "
        "by default the file `registry/mlflow.db` below MICSERVE_HOME.",
    )
    registry_files: str | None = Field(
        default=None,
        description="Where packages and reports are kept: a folder or `s3://bucket/folder` (with "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and MLFLOW_S3_ENDPOINT_URL for a store of your "
        "own); by default `registry/artifacts` below MICSERVE_HOME.",
    )
    registry_allowed_hosts: str | None = Field(
        default=None,
        description="Names under which clients reach the registry, `name` and `name:port`, with "
        "commas between. By default localhost and private addresses; others are refused.",
    )

    @property
    def folder(self) -> Path:
        return self.home.absolute() / "registry"
