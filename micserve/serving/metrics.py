"""What Prometheus may ask of an inference service; `docs/metrics.md` lists it, a test compares.

Base units are in the names. Labels are bounded: names and versions are only
those of models that this service loaded, and no label holds a request's path or id.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from micserve.serving.gpu import GpuMemory

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""From a small image on a GPU to a large stack on a CPU."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All of one service's metrics, declared once, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.predictions = Counter(
            "micserve_predictions_total",
            "Predict requests by HTTP status; without model and version where none was found.",
            ["model", "version", "status"],
            registry=registry,
        )
        self.pixels = Counter(
            "micserve_pixels_total",
            "Pixels and voxels of the images that were predicted.",
            ["model", "version"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "micserve_stage_duration_seconds",
            "Time by stage: receive, queue, decode, normalize, infer, postprocess, encode.",
            ["model", "version", "stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.running = Gauge(
            "micserve_predictions_running", "Predictions that run now.", registry=registry
        )
        self.waiting = Gauge(
            "micserve_predictions_waiting",
            "Requests that were let in and upload or wait.",
            registry=registry,
        )
        self.refused = Counter(
            "micserve_predictions_refused_total",
            "Requests that were sent away because the queue was full.",
            registry=registry,
        )
        self.places = Gauge(
            "micserve_places",
            "Requests that may be inside at the same time, running and waiting together.",
            registry=registry,
        )
        self.batch_tiles = Histogram(
            "micserve_batch_tiles",
            "Tiles that the network was given at a time.",
            ["model", "version"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.far_images = Counter(
            "micserve_far_images_total",
            "Images whose pixel size or grey values are far from those that the model was trained "
            "on, of those that were predicted: their share is the drift.",
            ["model", "version"],
            registry=registry,
        )
        self.network_lookups = Counter(
            "micserve_network_lookups_total",
            "Requests for a network by outcome: hit when it was in memory, miss when not.",
            ["outcome"],
            registry=registry,
        )
        self.loads = Counter(
            "micserve_model_loads_total",
            "Attempts to load a version, by outcome: loaded or failed.",
            ["model", "outcome"],
            registry=registry,
        )
        self.load_seconds = Histogram(
            "micserve_model_load_duration_seconds",
            "Time to fetch, check, load and replay one version.",
            buckets=SECONDS,
            registry=registry,
        )
        self.networks = Gauge("micserve_networks_loaded", "Networks in memory.", registry=registry)
        self.network_bytes = Gauge(
            "micserve_networks_bytes",
            "Memory that the loaded networks are counted with.",
            registry=registry,
        )
        self.registry_up = Gauge(
            "micserve_registry_up",
            "1 when the registry answered the last time it was asked.",
            registry=registry,
        )
        registry.register(GpuMemory())

    def render(self) -> bytes:
        return generate_latest(self.registry)
