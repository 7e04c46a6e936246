"""The gate: a candidate against the version in use, on the same images or not at all."""

import pytest

from micserve.errors import ParameterError, PromotionRefusedError
from micserve.qc.held_out import HeldOut, HeldOutImage, HeldOutMeasure
from micserve.registry.gate import gate, read_held_out

PSNR = HeldOutMeasure(key="psnr", label="PSNR", unit="dB", better="higher")


def judged(values, *, filtered=20.0, images="abcdef"):
    """Quality numbers of one version: PSNR of the prediction image by image, and of a filter."""
    return HeldOut(
        measures=(PSNR,),
        methods={"prediction": "Prediction", "gaussian": "Gaussian σ = 2 px"},
        images=tuple(
            HeldOutImage(
                name=name,
                sha256=name * 64,
                scores={"prediction": {"psnr": value}, "gaussian": {"psnr": filtered}},
            )
            for name, value in zip(images, values, strict=False)
        ),
        sentence="The prediction is fine.",
    )


@pytest.fixture
def publish(bench, tmp_path):
    """Publish a version with quality numbers; the first is put into production."""

    def published(found, *, verification=None, **kept):
        version = bench.publish(**({} if verification is None else {"verification": None}))
        if found is not None:
            (tmp_path / "held_out.json").write_text(found.model_dump_json())
            version = bench.registry.attach_qc(version, {}, tmp_path)
        return version

    return published


SPREAD = (20.0, 25.0, 30.0, 35.0, 40.0, 45.0)


def test_a_small_gain_on_the_same_images_is_seen_because_it_is_paired(bench, publish):
    first = publish(judged(SPREAD))
    bench.registry.promote(first.ref, "production", by="ada", reason="first")
    second = publish(judged([value + 0.5 for value in SPREAD]))
    found = gate(bench.registry, second, "production")
    assert (found.current, found.candidate, found.images) == (1, 2, 6)
    [one] = found.against_current
    assert (one.outcome, one.interval) == ("better", "bootstrap")
    assert one.mean == pytest.approx(0.5)
    assert 0.4 < one.low <= one.high < 0.6
    assert any("is better than version 1 on the 6 images" in text for text in found.sentences)
    assert found.warnings == ()


def test_a_worse_candidate_may_pass_but_its_promotion_says_so_for_ever(bench, publish):
    first = publish(judged(SPREAD))
    bench.registry.promote(first.ref, "production", by="ada", reason="first")
    second = publish(judged([value - 1 for value in SPREAD]))
    made = bench.registry.promote(second.ref, "production", by="ada", reason="the licence")
    assert any("worse than version 1" in warning for warning in made.warnings)
    [_, kept] = bench.registry.promotions(bench.name)
    assert kept == made
    assert (kept.by, kept.reason, kept.from_version, kept.to_version) == (
        "ada",
        "the licence",
        1,
        2,
    )


def test_a_filter_that_does_better_is_named(bench, publish):
    found = gate(bench.registry, publish(judged(SPREAD, filtered=50.0)), "production")
    assert found.current is None
    assert found.against_methods[0].differences[0].outcome == "worse"
    assert "The plain filter Gaussian σ = 2 px does better" in found.warnings[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (judged(SPREAD), judged(SPREAD, images="uvwxyz"), "judged on different images"),
        (None, judged(SPREAD), "@2 has no quality report"),
        (judged(SPREAD), None, "@1 has no quality report"),
        (None, None, "have no quality report"),
    ],
)
def test_versions_that_cannot_be_compared_are_not(bench, publish, ours, theirs, words):
    bench.registry.promote(publish(theirs).ref, "production", by="ada", reason="first")
    found = gate(bench.registry, publish(ours), "production")
    assert found.against_current == ()
    assert any("cannot be compared" in w and words in w for w in found.warnings)


def test_three_images_have_a_range_and_only_shared_ones_count(bench, publish):
    bench.registry.promote(
        publish(judged(SPREAD[:4], images="abcd")).ref, "production", by="ada", reason="first"
    )
    second = publish(judged([26.0, 29.0, 36.0, 50.0], images="bcdz"))
    [one] = gate(bench.registry, second, "production").against_current
    assert (one.images, one.interval, one.outcome) == (3, "range", "no clear difference")
    assert (one.low, one.high) == (-1.0, 1.0)


def test_the_gate_shows_and_promotion_refuses_what_was_never_verified(bench, publish):
    version = publish(judged(SPREAD), verification="none")
    found = gate(bench.registry, version, "production")
    assert not found.verified
    assert found.objection == "it was never verified"
    with pytest.raises(PromotionRefusedError, match="never verified"):
        bench.registry.promote(version.ref, "production", by="ada", reason="")
    with pytest.raises(ParameterError, match="needs a reason"):
        bench.registry.promote(version.ref, "production", by="ada", reason=" ", force=True)
    made = bench.registry.promote(version.ref, "production", by="ada", reason="demo", force=True)
    assert made.forced
    assert bench.registry.promotions(bench.name)[-1].reason == "demo"


def test_numbers_of_another_kind_are_no_numbers(bench, tmp_path):
    (tmp_path / "held_out.json").write_text('{"images": 3}')
    version = bench.registry.attach_qc(bench.publish(), {}, tmp_path)
    assert read_held_out(bench.registry, version) is None
    assert read_held_out(bench.registry, bench.publish()) is None
