"""What a training will take is told from what such trainings took here."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from micserve.registry import ModelVersion
from micserve.registry.model import Card
from services.gateway.estimate import Load, done, estimated, load_of
from services.gateway.jobs.families import trainable

ASKED = {
    **{"number_of_epochs": 8, "number_of_steps": 50, "batch_size": 8, "patch_size": 64},
    "unet_n_first": 16,
}


def trained(seconds: float, peak: str = "", **changes: object) -> ModelVersion:
    """A version as a training on this server leaves it."""
    facts = {f"effective.{name}": value for name, value in {**ASKED, **changes}.items()}
    facts |= {"seconds": seconds, "hardware.device": "the CPU"}
    facts |= {"hardware.peak_memory": peak} if peak else {}
    card = Card(
        axes="YX", channels=1, outputs={"denoised": 1}, pixel_size_um=None, halo=(24, 24),
        multiple=(4, 4), normalization="none", parameters={}, training=facts, size_bytes=1,
    )  # fmt: skip
    return ModelVersion(
        name="n2v-mine", version=1, digest="0" * 64, family="n2v", ndim=2, run_id="r",
        created=datetime(2026, 1, 1, tzinfo=UTC), card=card, source="s",
    )  # fmt: skip


def test_the_same_training_takes_as_long_again() -> None:
    before = done([trained(47.5, "1.60 GiB")], family="n2v", ndim=2)
    said = estimated(load_of(ASKED, ndim=2), before, trainable()["n2v"])
    assert said.seconds == pytest.approx(47.5)
    assert said.memory_bytes == pytest.approx(1.6 * (1 << 30), rel=1e-6)
    assert "About 48 s on the CPU, and about 1.6 GiB" in said.sentence


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({"number_of_epochs": 16}, 2),
        ({"batch_size": 24}, 3),
        ({"patch_size": 128}, 4),
        ({"unet_n_first": 32}, 4),
    ],
)
def test_twice_the_work_takes_twice_the_time(change: dict[str, int], factor: float) -> None:
    before = done([trained(10)], family="n2v", ndim=2)
    said = estimated(load_of({**ASKED, **change}, ndim=2), before, trainable()["n2v"])
    assert said.seconds == pytest.approx(10 * factor)


def test_where_no_such_training_was_done_no_time_is_invented() -> None:
    others = [trained(10).model_copy(update=c) for c in ({"family": "care"}, {"ndim": 3})]
    imported = trained(10).model_copy(
        update={"card": trained(10).card.model_copy(update={"training": {}})}
    )
    before = done([*others, imported], family="n2v", ndim=2)
    assert before == []
    said = estimated(load_of(ASKED, ndim=2), before, trainable()["n2v"])
    assert said.seconds is None
    assert said.memory_bytes > 900 << 20
    assert "No Noise2Void training was done on this server yet" in said.sentence


def test_automatic_steps_follow_the_pixels_up_to_their_limit() -> None:
    auto = {**ASKED, "number_of_steps": "auto", "auto_steps_limit": 100}
    one_step = 8 * 64 * 64
    assert load_of(auto, ndim=2, pixels=10 * one_step).steps == 8 * 10
    assert load_of(auto, ndim=2, pixels=1000 * one_step).steps == 8 * 100
    assert load_of(auto | {"auto_steps_limit": None}, ndim=2, pixels=1000 * one_step).steps == 8000
    assert load_of(auto, ndim=2, pixels=1).steps == 8


def test_every_familys_defaults_and_presets_have_a_load() -> None:
    for family in trainable().values():
        for ndim in family.dimensions:
            for preset in family.presets[str(ndim)]:
                values = {p.name: p.default for p in family.parameters} | preset.values
                load = load_of(values, ndim=ndim, pixels=1 << 20)
                assert load.arithmetic > 0
                assert estimated(load, [], family).memory_bytes < 1 << 40


def test_memory_never_falls_below_that_of_the_framework() -> None:
    tiny = replace(load_of(ASKED, ndim=2), pixels=1)
    assert isinstance(tiny, Load)
    before = done([trained(10, "0.10 GiB")], family="n2v", ndim=2)
    assert estimated(tiny, before, trainable()["n2v"]).memory_bytes >= 900 << 20
