"""What may be promoted, and what the registry says of what it does not have."""

import pytest

from micserve.errors import ParameterError, PromotionRefusedError
from micserve.registry import ModelRef, ModelVersion, QualityControl
from micserve.registry.card import card_of
from micserve.registry.rules import LONGEST_REASON, promotion_of, unknown_model, unknown_version
from micserve.registry.tags import LONGEST_MODEL_TAG

from .conftest import FAILED, NOW, VERIFIED, contract_of


def version(number=1, **changes) -> ModelVersion:
    facts = {
        "name": "n2v",
        "version": number,
        "digest": "0" * 64,
        "family": "n2v",
        "ndim": 2,
        "created": NOW,
        "run_id": "r1",
        "verification": VERIFIED,
        "card": card_of(contract_of("n2v"), description="", size_bytes=1),
        "source": "mlflow-artifacts:/x",
    }
    return ModelVersion.model_validate(facts | changes)


def promote(of: ModelVersion, reason="better", **changes):
    facts = {"before": None, "by": "Ada", "reason": reason, "force": False}
    return promotion_of(of, "production", **(facts | changes))


def qc(**summary) -> QualityControl:
    return QualityControl(created=NOW, summary=summary, folder="qc/v1")


def test_a_verified_version_is_promoted_and_the_record_says_by_whom_and_from_where():
    record = promote(version(2, qc=qc(beats_gaussian=True)), before=1)
    assert (record.by, record.reason, record.from_version, record.to_version) == (
        "Ada",
        "better",
        1,
        2,
    )
    assert not record.forced
    assert record.warnings == ()


@pytest.mark.parametrize(
    ("verification", "why"),
    [(None, "was never verified"), (FAILED, r"failed \(tiled equals whole\)")],
)
def test_an_unverified_version_needs_force_and_force_a_reason(verification, why):
    bad = version(verification=verification)
    with pytest.raises(PromotionRefusedError, match=why):
        promote(bad)
    with pytest.raises(ParameterError, match="needs a reason"):
        promote(bad, reason=" ", force=True)
    record = promote(bad, force=True)
    assert record.forced
    assert "by force" in record.warnings[0]


def test_a_plain_filter_that_does_better_is_a_warning():
    (warning,) = promote(version(qc=qc(beats_gaussian=False))).warnings
    assert "Gaussian filter does better" in warning


def test_a_missing_quality_report_is_a_warning():
    (warning,) = promote(version()).warnings
    assert "no quality report" in warning


def test_a_promotion_is_signed_and_short():
    with pytest.raises(ParameterError, match="say who"):
        promote(version(), by=" ")
    with pytest.raises(ParameterError, match="at most 1000"):
        promote(version(), reason="x" * 1001)
    longest = promote(
        version(verification=None), by="x" * LONGEST_REASON, reason="y" * LONGEST_REASON, force=True
    )
    assert len(longest.model_dump_json()) < LONGEST_MODEL_TAG


def test_an_unknown_model_is_answered_with_the_nearest_names():
    assert "did you mean n2v-spots" in str(unknown_model("n2v-spot", ["n2v-spots", "care"]))
    assert "which has care, unet" in str(unknown_model("xyz", ["care", "unet"]))
    assert "is empty" in str(unknown_model("xyz", []))
    many = unknown_model("xyz", [f"care-{k}" for k in range(9)])
    assert "care-4 and 4 more" in str(many)


def test_an_unknown_version_is_answered_with_those_there_are():
    there_are = [version(3), version(1, aliases=("production",))]
    said = str(unknown_version(ModelRef.parse("n2v@2"), there_are))
    assert (
        said
        == "The model n2v has no version 2. It has versions 3, 1 and the aliases production (1)."
    )
    said = str(unknown_version(ModelRef.parse("n2v"), [version()]))
    assert said == "The model n2v has no alias 'production'. It has version 1 and no alias yet."
