"""The use case: one image in, one image out, by the model that was asked for.

Plain Python that knows settings, models, files and pixels, and no HTTP. All
methods but `start` and `stop` may be called from many threads.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from micserve.codecs import Limits, read_image
from micserve.errors import ModelNotFoundError
from micserve.families import FAMILIES, OutputKind, PredictParameters
from micserve.image import Image
from micserve.predict import LoadedModel, Prediction, Watch, predict
from micserve.registry import ModelRef, ModelVersion, Registry, open_registry
from micserve.serving.cautions import cautions
from micserve.serving.directory import Directory
from micserve.serving.loading import PackageLoader
from micserve.serving.metrics import Metrics
from micserve.serving.models import ModelPool
from micserve.serving.parameters import read_output, read_parameters, read_trust
from micserve.serving.results import Encoded, PixelOutput, encode_image
from micserve.serving.settings import ServiceSettings
from micserve.serving.trusting import noted, trust_maps, trust_of
from micserve.serving.watcher import Watcher
from micserve.trust import Trust

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked, checked as far as it can be without the image."""

    version: ModelVersion
    parameters: PredictParameters
    output: OutputKind
    maps: bool = False
    """Whether the maps of the trust light are wanted instead of the result."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished image, as bytes or as an open file that nobody else can see any more."""

    content: bytes | BinaryIO
    size: int
    media_type: str
    filename: str
    model: LoadedModel
    pixels: int
    warnings: tuple[str, ...]
    trust: Trust
    seconds: dict[str, float]
    batches: Mapping[int, int]
    """Number of tiles to how often the network was given so many."""
    is_far: bool
    """Whether the image is far from what the model was trained on."""


class LoadedState(BaseModel):
    """One network in memory, for listings."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    digest: str
    family: str
    device: str
    counted_bytes: int


class ServiceState(BaseModel):
    """What a service says about itself."""

    model_config = ConfigDict(frozen=True)

    family: str
    ready: bool
    reasons: tuple[str, ...]
    loaded: tuple[LoadedState, ...]
    failed: dict[str, str]
    """`name@version` to what is wrong with it."""


class InferenceService:
    """All that one family's service does."""

    def __init__(
        self, family: str, settings: ServiceSettings, *, registry: Registry | None = None
    ) -> None:
        self.family = FAMILIES[family]
        self.settings = settings
        self.metrics = Metrics()
        self._limits = Limits(max_pixels_bytes=settings.max_image_bytes)
        registry = registry or open_registry(settings=settings)
        self._directory = Directory(registry, alias_seconds=settings.poll_s)
        loader = PackageLoader(
            registry,
            folder=settings.home.absolute() / "cache" / "networks",
            provider=settings.provider,
            threads=settings.threads,
        )
        self._pool = ModelPool(loader, budget_bytes=settings.networks_bytes, metrics=self.metrics)
        self._watcher = Watcher(
            self._directory,
            self._pool,
            family=family,
            required=settings.models,
            poll_s=settings.poll_s,
            metrics=self.metrics,
        )

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop()
        self._pool.close()

    def state(self) -> ServiceState:
        readiness = self._watcher.readiness
        return ServiceState(
            family=self.family.name,
            ready=readiness.ready,
            reasons=readiness.reasons,
            loaded=tuple(
                LoadedState(
                    name=entry.model.contract.name,
                    version=entry.model.version,
                    digest=entry.model.digest,
                    family=entry.model.contract.family,
                    device=entry.model.backend.device,
                    counted_bytes=entry.size_bytes,
                )
                for entry in self._pool.loaded()
            ),
            failed={f"{f.name}@{f.version}": str(f.error) for f in self._pool.failures()},
        )

    def prepare(self, name: str, query: Sequence[tuple[str, str]]) -> Order:
        """Check all that can be checked before the image is read.

        Raises
        ------
        ParameterError, ModelNotFoundError, VersionNotFoundError, RegistryUnavailableError
        """
        asked = dict(query)
        parameters = read_parameters(self.family, query)
        output = read_output(self.family, asked.get("output"))
        pointer = asked.get("version")
        version = self._directory.resolve(
            ModelRef.parse(name if pointer is None else f"{name}@{pointer}")
        )
        if version.family != self.family.name:
            raise ModelNotFoundError(
                f"{name} is a {version.family} model, and this service runs {self.family.name} "
                "models only. Ask the gateway, which knows where each model runs."
            )
        return Order(version, parameters, output, maps=read_trust(asked.get("trust")))

    def predict(
        self,
        order: Order,
        source: bytes | Path,
        *,
        folder: Path,
        cancelled: Callable[[], bool],
    ) -> Answer:
        """Decode, run, encode.

        Parameters
        ----------
        source
            The file as it came, in memory or in `folder`.
        folder
            For large results; may be removed when this returns.

        Raises
        ------
        MicserveError
            Whatever is wrong with the image, the model or the moment, in words.
        """
        watch = Watch(cancelled=cancelled)
        with watch.stage("decode"):
            image = read_image(source, limits=self._limits, name="The image")
        with self._pool.lease(order.version) as model:
            output = PixelOutput(folder / "result.tif", self.settings.spool_bytes, like=image)
            result = predict(
                image,
                model,
                order.parameters,
                open_output=output.open,
                max_tile_pixels=self.settings.tile_pixels,
                watch=watch,
            )
            with watch.stage("trust"):
                trust = trust_of(image, model, order.parameters, result)
            result = replace(result, image=noted(result.image, trust))
            file = self._encoded(order, image, model, result, output, watch)
        cautious = cautions(image, model.contract)
        return Answer(
            content=file.content,
            size=file.size,
            media_type=file.media_type,
            filename=model.contract.name + ("-trust" if order.maps else "") + file.ending,
            model=model,
            pixels=int(image.data.size),
            warnings=image.notes + cautious,
            trust=trust,
            seconds=dict(watch.seconds),
            batches=dict(watch.batches),
            is_far=bool(cautious),
        )

    def _encoded(
        self,
        order: Order,
        image: Image,
        model: LoadedModel,
        result: Prediction,
        output: PixelOutput,
        watch: Watch,
    ) -> Encoded:
        """The result as it was asked for, or the maps of its trust."""
        if not order.maps:
            with watch.stage("encode"):
                return output.encode(order.output, result)
        with watch.stage("trust"):
            maps = trust_maps(
                image,
                model,
                order.parameters,
                result,
                max_tile_pixels=self.settings.tile_pixels,
                watch=watch,
            )
        with watch.stage("encode"):
            return encode_image(maps)

    def note(self, answer: Answer) -> None:
        """Count a finished prediction."""
        labels = (answer.model.contract.name, str(answer.model.version))
        self.metrics.pixels.labels(*labels).inc(answer.pixels)
        for stage, seconds in answer.seconds.items():
            self.metrics.stage_seconds.labels(*labels, stage).observe(seconds)
        for tiles, times in answer.batches.items():
            for _ in range(times):
                self.metrics.batch_tiles.labels(*labels).observe(tiles)
        self.metrics.far_images.labels(*labels).inc(answer.is_far)
        log.info(
            "predicted",
            extra={
                "model": answer.model.label,
                "pixels": answer.pixels,
                "tiles": sum(size * times for size, times in answer.batches.items()),
                "stages": {stage: round(s, 4) for stage, s in answer.seconds.items()},
            },
        )
