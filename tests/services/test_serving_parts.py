"""The parts of a service, each alone."""

import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from micserve.artifact.contract import ModelContract
from micserve.errors import BusyError, ParameterError, VerificationError
from micserve.families import FAMILIES
from micserve.predict import LoadedModel
from micserve.registry import Card, ModelVersion
from micserve.serving.admission import Admission
from micserve.serving.answers import ascii_only, disposition
from micserve.serving.metrics import Metrics
from micserve.serving.models import Loaded, ModelPool
from micserve.serving.parameters import read_output, read_parameters
from micserve.serving.scratch import Scratch
from micserve.serving.settings import ServiceSettings
from services.gateway.negotiation import choose
from services.gateway.settings import GatewaySettings

N2V = FAMILIES["n2v"]


def version(name: str, number: int = 1) -> ModelVersion:
    return ModelVersion(
        name=name,
        version=number,
        digest="0" * 64,
        family="n2v",
        ndim=2,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        run_id="run",
        card=Card(
            axes="YX",
            channels=1,
            outputs={"output": 1},
            pixel_size_um=None,
            halo=(8, 8),
            multiple=(4, 4),
            normalization="identity",
            parameters={},
            training={},
            size_bytes=1,
        ),
        source="nowhere",
    )


class Loads:
    """A loader that remembers what it was asked for, and may be held up."""

    def __init__(self, size: int = 10) -> None:
        self.asked: list[tuple[str, int]] = []
        self.size = size
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, of: ModelVersion) -> Loaded:
        self.asked.append((of.name, of.version))
        self.go_on.wait(timeout=30)
        if of.name == "spoiled":
            raise VerificationError("it differs")
        contract = ModelContract.model_construct(name=of.name, family="n2v")
        model = LoadedModel(contract, backend=None, version=of.version)  # type: ignore[arg-type]
        return Loaded(model, self.size)


def pool(load: Loads, budget: int = 25) -> ModelPool:
    return ModelPool(load, budget_bytes=budget, metrics=Metrics())


def held(of: ModelPool) -> list[str]:
    return [entry.model.label for entry in of.loaded()]


def test_what_was_used_longest_ago_goes_first() -> None:
    models = pool(Loads())
    for name in ("a", "b", "a", "c"):
        models.preload(version(name))
    assert held(models) == ["a@1", "c@1"]


def test_a_network_in_use_is_never_dropped_whatever_the_budget() -> None:
    models = pool(Loads(), budget=5)
    with models.lease(version("a")) as a, models.lease(version("b")):
        models.preload(version("c"))
        assert held(models)[:2] == ["a@1", "b@1"]
        assert a.label == "a@1"
    assert len(held(models)) == 1


def test_versions_in_production_outlast_others() -> None:
    models = pool(Loads())
    models.preload(version("a", 1))
    models.preload(version("a", 2))
    models.keep([("a", 1)])
    models.preload(version("b"))
    assert held(models) == ["a@1", "b@1"] or held(models) == ["a@1", "a@2"]
    assert "a@1" in held(models)


def test_a_version_that_many_ask_for_at_once_is_loaded_once() -> None:
    load = Loads()
    load.go_on.clear()
    models = pool(load)
    threads = [threading.Thread(target=models.preload, args=[version("a")]) for _ in range(8)]
    for thread in threads:
        thread.start()
    load.go_on.set()
    for thread in threads:
        thread.join()
    assert load.asked == [("a", 1)]


def test_a_damaged_version_is_refused_from_memory_and_keeps_nothing() -> None:
    load = Loads()
    models = pool(load)
    for _ in range(3):
        with pytest.raises(VerificationError, match="it differs"):
            models.preload(version("spoiled"))
    assert load.asked == [("spoiled", 1)]
    assert held(models) == []
    assert [failure.name for failure in models.failures()] == ["spoiled"]


def test_places_are_bounded_and_given_back() -> None:
    desk = Admission(running=1, waiting=1, metrics=Metrics())
    with desk.place(), desk.place():
        with pytest.raises(BusyError) as refused, desk.place():
            pass
        assert refused.value.retry_after >= 1
    with desk.place():
        pass


def test_parameters_are_read_from_a_query() -> None:
    asked = read_parameters(N2V, [("version", "3"), ("channel", "2"), ("clip", "true")])
    assert asked.model_dump() == {
        "axes": None,
        "channel": 2,
        "output_dtype": "float32",
        "clip": True,
    }
    assert read_parameters(N2V, [("channel", "all")]).channel == "all"
    assert read_output(N2V, None) == "image"


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
def test_any_query_gives_parameters_or_a_sentence(query: dict[str, str]) -> None:
    with suppress(ParameterError):
        assert read_parameters(N2V, list(query.items())).axes is None or "axes" in query


@given(st.text(max_size=200))
def test_header_values_are_one_line_of_ascii(text: str) -> None:
    value = ascii_only(text)
    assert value.isascii()
    assert value.isprintable()
    disposition(text).encode("ascii")


def test_scratch_files_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    abandoned = tmp_path / "123-dead"
    abandoned.mkdir()
    (abandoned / "upload").write_bytes(b"x")
    first = Scratch(tmp_path)
    with first.folder() as folder:
        (folder / "upload").write_bytes(b"x")
        second = Scratch(tmp_path)
        assert not abandoned.exists()
        assert (folder / "upload").exists()
    assert not folder.exists()
    first.close()
    second.close()
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "a/json"),
        ("*/*", "a/json"),
        ("a/html", "a/html"),
        ("text/plain, a/*;q=0.5, a/html;q=0.4", "a/json"),
        ("a/html;q=0.9, a/json;q=0.8", "a/html"),
        ("text/html,a/html,*/*;q=0.8", "a/html"),
    ],
)
def test_the_client_gets_the_form_that_it_likes_best(accept: str, chosen: str) -> None:
    assert choose(accept, ["a/json", "a/html"]) == chosen


def test_a_form_that_there_is_not_is_406() -> None:
    with pytest.raises(HTTPException) as refused:
        choose("image/gif, a/json;q=0", ["a/json"])
    assert refused.value.status_code == 406


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER", "cpu")
    monkeypatch.setenv("MICSERVE_MODELS", "a, b")
    settings = ServiceSettings()
    assert (settings.provider, settings.models) == ("cpu", ("a", "b"))
    monkeypatch.setenv("MICSERVE_PROVIDER", "tpu")
    with pytest.raises(ValidationError):
        ServiceSettings()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_gateway_listens_to_this_machine(host: str) -> None:
    assert GatewaySettings(gateway_host=host).gateway_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_the_gateway_listens_to_strangers_without_accounts_only_when_told_to(host: str) -> None:
    with pytest.raises(ValidationError, match="MICSERVE_GATEWAY_PUBLIC"):
        GatewaySettings(gateway_host=host, accounts="off")
    told = GatewaySettings(gateway_host=host, accounts="off", gateway_public=True)
    assert told.gateway_host == host
    assert GatewaySettings(gateway_host=host).accounts_on


def test_every_family_has_a_place_in_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GatewaySettings().upstreams.keys() == FAMILIES.keys()
    monkeypatch.setenv("MICSERVE_N2V_URL", "http://n2v:3000/, http://n2v-b:3000")
    assert GatewaySettings().upstreams["n2v"] == ("http://n2v:3000", "http://n2v-b:3000")


def test_a_model_may_have_a_service_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICSERVE_MODEL_URLS", "spots=http://a:1/,spots=http://b:1")
    assert GatewaySettings().dedicated == {"spots": ("http://a:1", "http://b:1")}
    monkeypatch.setenv("MICSERVE_MODEL_URLS", "spots")
    with pytest.raises(ValidationError, match="write name=http://host:port"):
        GatewaySettings()
