"""Where the registry is and where its packages are cached: read from the environment."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    """All variables start with `MICSERVE_`: MICSERVE_HOME, MICSERVE_REGISTRY, MICSERVE_CACHE."""

    model_config = SettingsConfigDict(env_prefix="MICSERVE_", frozen=True, extra="ignore")

    home: Path = Path("var")
    """Folder of everything that micserve writes."""
    registry: str | None = None
    """`http://host:5000` of a tracking server, or `sqlite:///folder/mlflow.db` for one program
    alone; by default the file `registry/mlflow.db` below `home`."""
    cache: Path | None = None
    """Folder of downloaded packages; by default `cache/packages` below `home`."""

    @property
    def registry_folder(self) -> Path:
        """Database and artifacts of the default registry."""
        return self.home.absolute() / "registry"

    @property
    def accounts_folder(self) -> Path:
        """People, tokens and the record of who did what."""
        return self.home.absolute() / "accounts"

    @property
    def uri(self) -> str:
        return self.registry or f"sqlite:///{self.registry_folder / 'mlflow.db'}"

    @property
    def cache_folder(self) -> Path:
        return (self.cache or self.home / "cache" / "packages").absolute()
