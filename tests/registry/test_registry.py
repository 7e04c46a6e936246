"""One behaviour, whether a registry is opened by its files or behind its server."""

import hashlib
import math
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from micserve.errors import (
    DigestMismatchError,
    IntegrityError,
    ModelNotFoundError,
    NotFoundError,
    PackageError,
    ParameterError,
    PromotionRefusedError,
    VersionNotFoundError,
)
from micserve.registry import ModelRef
from micserve.registry.server import ARTIFACTS

from .conftest import FAILED, VERIFIED, contract_of


def test_what_was_published_is_what_is_fetched(bench):
    version = bench.publish(b"one")
    assert (version.name, version.version, version.family, version.ndim) == (
        bench.name,
        1,
        "n2v",
        2,
    )
    assert version.digest == hashlib.sha256(b"one").hexdigest()
    assert version.card.size_bytes == 3
    assert bench.registry.fetch(version).read_bytes() == b"one"
    assert bench.registry.resolve(ModelRef.parse(f"{bench.name}@1")) == version


def test_each_publication_is_a_version_of_its_own(bench):
    first, second = bench.publish(b"one"), bench.publish(b"two")
    assert bench.registry.list_versions(bench.name) == (second, first)
    assert bench.registry.fetch(first).read_bytes() == b"one"
    assert bench.registry.fetch(second).read_bytes() == b"two"


def test_two_versions_of_one_run_keep_their_packages_apart(bench):
    run = bench.registry.start_run(family="n2v", name=bench.name, params={}, tags={})
    contract = contract_of(bench.name)
    first, second = (
        bench.registry.publish(
            bench.package(content),
            name=bench.name,
            run_id=run.id,
            contract=contract,
            verification=VERIFIED,
        )
        for content in (b"one", b"two")
    )
    run.finish("FINISHED")
    assert bench.registry.fetch(first).read_bytes() == b"one"
    assert bench.registry.fetch(second).read_bytes() == b"two"


def test_a_model_is_listed_with_its_newest_version_and_aliases(bench):
    bench.publish()
    newest = bench.publish()
    bench.registry.promote(ModelRef.parse(f"{bench.name}@1"), "production", by="Ada", reason="")
    (model,) = (m for m in bench.registry.list_models() if m.name == bench.name)
    assert model.latest == newest
    assert model.aliases == {"production": 1}


def test_an_alias_is_resolved_with_one_request(bench, monkeypatch):
    version = bench.publish()
    bench.registry.promote(version.ref, "production", by="Ada", reason="first")
    requests = []
    call = bench.registry._connection.call
    monkeypatch.setattr(
        bench.registry._connection, "call", lambda *a, **k: requests.append(1) or call(*a, **k)
    )
    resolved = bench.registry.resolve(ModelRef.parse(bench.name))
    assert len(requests) == 1
    assert resolved == version.model_copy(update={"aliases": ("production",)})


def test_promotions_are_recorded_and_move_the_alias(bench):
    bench.publish()
    bench.publish()
    for number, reason in [(1, "first"), (2, "better"), (1, "back again")]:
        ref = ModelRef.parse(f"{bench.name}@{number}")
        bench.registry.promote(ref, "production", by="Ada", reason=reason)
    history = bench.registry.promotions(bench.name)
    assert [(p.from_version, p.to_version, p.reason) for p in history] == [
        (None, 1, "first"),
        (1, 2, "better"),
        (2, 1, "back again"),
    ]
    assert bench.registry.resolve(ModelRef.parse(bench.name)).version == 1


@pytest.mark.parametrize("verification", [None, FAILED])
def test_a_refused_promotion_changes_nothing_until_the_version_is_verified(bench, verification):
    version = bench.publish(verification=verification)
    with pytest.raises(PromotionRefusedError):
        bench.registry.promote(version.ref, "production", by="Ada", reason="")
    assert bench.registry.promotions(bench.name) == ()
    verified = bench.registry.record_verification(version, VERIFIED)
    assert verified.verification == VERIFIED
    bench.registry.promote(version.ref, "production", by="Ada", reason="")
    assert bench.registry.resolve(ModelRef.parse(bench.name)) == verified.model_copy(
        update={"aliases": ("production",)}
    )


def test_a_quality_report_is_attached_with_its_files(bench, tmp_path):
    report = tmp_path / "report"
    (report / "maps").mkdir(parents=True)
    (report / "report.html").write_text("<html>")
    (report / "maps" / "error map µ.tif").write_bytes(b"tiff")
    version = bench.publish()
    summary = {"psnr": {"prediction": 31.5, "gaussian": math.inf}, "beats_gaussian": True}
    with_qc = bench.registry.attach_qc(version, summary, report)
    assert with_qc.qc is not None
    # JSON has no word for infinity.
    assert with_qc.qc.summary == {
        "psnr": {"prediction": 31.5, "gaussian": None},
        "beats_gaussian": True,
    }
    folder = with_qc.qc.folder
    assert bench.registry.list_files(with_qc, folder) == (
        f"{folder}/maps/error map µ.tif",
        f"{folder}/report.html",
    )
    assert bench.registry.read_file(with_qc, f"{folder}/report.html") == b"<html>"
    assert bench.registry.read_file(with_qc, f"{folder}/maps/error map µ.tif") == b"tiff"


def test_a_second_quality_report_leaves_the_first_ones_files(bench, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("first")
    version = bench.registry.attach_qc(bench.publish(), {}, tmp_path / "report")
    (tmp_path / "report" / "report.html").write_text("second")
    again = bench.registry.attach_qc(version, {}, tmp_path / "report")
    assert bench.registry.read_file(again, f"{version.qc.folder}/report.html") == b"first"
    assert bench.registry.read_file(again, f"{again.qc.folder}/report.html") == b"second"


def test_a_summary_that_is_not_plain_data_or_too_long_is_refused(bench, tmp_path):
    version = bench.publish()
    with pytest.raises(ParameterError, match="not plain data"):
        bench.registry.attach_qc(version, {"psnr": object()}, tmp_path)
    with pytest.raises(ParameterError, match="put the long part into a file"):
        bench.registry.attach_qc(version, {"values": ["x" * 100] * 1000}, tmp_path)


@pytest.mark.parametrize("path", ["report.html", "qc", ""])
def test_a_file_that_is_not_there_is_not_found(bench, path):
    with pytest.raises(NotFoundError, match=f"{bench.name}@1 has no file '{path}'"):
        bench.registry.read_file(bench.publish(), path)


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "a/../../b", "..\\b"])
def test_a_path_does_not_leave_the_versions_files(bench, path):
    with pytest.raises(ParameterError, match="not a path inside"):
        bench.registry.read_file(bench.publish(), path)


def test_what_is_not_there_is_said_with_what_is(bench):
    bench.publish()
    with pytest.raises(VersionNotFoundError, match="has no version 7"):
        bench.registry.resolve(ModelRef.parse(f"{bench.name}@7"))
    with pytest.raises(VersionNotFoundError, match="has no alias 'production'"):
        bench.registry.resolve(ModelRef.parse(bench.name))
    for ask in (
        lambda name: bench.registry.resolve(ModelRef.parse(name)),
        bench.registry.list_versions,
        bench.registry.promotions,
    ):
        with pytest.raises(ModelNotFoundError, match=f"did you mean.*{bench.name}"):
            ask(f"{bench.name}x")


def test_versions_of_other_programs_and_half_made_ones_are_not_seen(bench):
    client = bench.registry._connection.client
    run_id = bench.registry._runs.hold(family="n2v", name=bench.name)
    source = f"mlflow-artifacts:/{bench.registry._runs.root(run_id)}/model"
    client.create_registered_model(bench.name)
    assert bench.name not in [model.name for model in bench.registry.list_models()]
    client.create_model_version(bench.name, source, run_id)
    client.set_registered_model_alias(bench.name, "production", "1")
    assert bench.name not in [model.name for model in bench.registry.list_models()]
    for ref in (bench.name, f"{bench.name}@1"):
        with pytest.raises(ModelNotFoundError):
            bench.registry.resolve(ModelRef.parse(ref))
    assert bench.publish().version == 2
    client.create_model_version(bench.name, source, run_id)
    (model,) = (m for m in bench.registry.list_models() if m.name == bench.name)
    assert model.latest.version == 2


def test_a_version_that_cannot_be_read_does_not_hide_the_others(bench):
    good, bad = bench.publish(), bench.publish()
    bench.registry._connection.client.set_model_version_tag(
        bench.name, "2", "micserve.card", '{"axes": "made by a later micserve"}'
    )
    assert bench.registry.list_versions(bench.name) == (good,)
    with pytest.raises(IntegrityError, match="cannot be read"):
        bench.registry.resolve(bad.ref)


def test_a_lost_answer_does_not_publish_twice(bench, monkeypatch):
    client = bench.registry._connection.client
    create = client.create_model_version

    def loses_its_answer(*args, **kwargs):
        create(*args, **kwargs)
        raise MlflowException("the connection broke")

    monkeypatch.setattr(client, "create_model_version", loses_its_answer)
    version = bench.publish()
    assert bench.registry.list_versions(bench.name) == (version,)


def test_a_collision_with_another_trainer_is_tried_again(bench, monkeypatch):
    client = bench.registry._connection.client
    create = client.create_model_version
    answers = [MlflowException("Giving up after 3 attempts."), MlflowException("database locked")]

    def collides(*args, **kwargs):
        if answers:
            raise answers.pop()
        return create(*args, **kwargs)

    monkeypatch.setattr(client, "create_model_version", collides)
    assert bench.publish().version == 1


def test_a_package_that_changed_on_its_way_is_not_published(bench, monkeypatch):
    put = bench.registry._files.put

    def damages(file: Path, key: str) -> None:
        other = file.with_suffix(".damaged")
        other.write_bytes(b"damaged")
        put(other, key)

    monkeypatch.setattr(bench.registry._files, "put", damages)
    with pytest.raises(IntegrityError, match="was not published"):
        bench.publish()
    with pytest.raises(ModelNotFoundError):
        bench.registry.list_versions(bench.name)


def test_a_package_is_published_under_the_name_it_bears(bench):
    with pytest.raises(ParameterError, match="says that it is care-x"):
        bench.registry.publish(
            bench.package(b"x"),
            name=bench.name,
            run_id=None,
            contract=contract_of("care-x"),
            verification=None,
        )


def test_a_package_that_is_not_there_is_not_published(bench, tmp_path):
    with pytest.raises(PackageError, match="no model package"):
        bench.registry.publish(
            tmp_path / "gone.zip",
            name=bench.name,
            run_id=None,
            contract=contract_of(bench.name),
            verification=None,
        )


def test_a_package_damaged_in_the_registry_is_never_used(database, open_registry, tmp_path):
    registry = open_registry(f"sqlite:///{database}")
    package = tmp_path / "package.zip"
    package.write_bytes(b"good")
    version = registry.publish(
        package, name="n2v", run_id=None, contract=contract_of("n2v"), verification=None
    )
    (stored,) = (database.parent / ARTIFACTS).rglob("*.zip")
    stored.write_bytes(b"evil")
    with pytest.raises(DigestMismatchError, match="n2v@1"):
        registry.fetch(version)


def test_a_run_is_recorded_and_taken_up_again(bench, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("training report")
    params = {f"parameter_{k}": str(k) for k in range(150)}
    run = bench.registry.start_run(family="n2v", name=bench.name, params=params, tags={"seed": "7"})
    run.log_metrics({"loss": 0.5, "val_loss": math.nan}, step=1)
    run.log_progress(0.25, "training", 30.0)
    run.log_file(report, "report")
    run.finish("KILLED")
    record = bench.registry.read_run(run.id)
    assert (record.name, record.family, record.status) == (bench.name, "n2v", "KILLED")
    assert (record.params, record.tags) == (params, {"seed": "7"})
    assert record.metrics["loss"] == 0.5
    assert math.isnan(record.metrics["val_loss"])
    assert record.progress is not None
    assert (record.progress.phase, record.progress.seconds_left) == ("training", 30.0)

    again = bench.registry.start_run(
        family="n2v",
        name=bench.name,
        run_id=run.id,
        params={"parameter_1": "2", "new": "x"},
        tags={},
    )
    assert again.id == run.id
    record = bench.registry.read_run(run.id)
    assert (record.status, record.ended) == ("RUNNING", None)
    assert record.params == params | {"new": "x"}
    assert record.tags["micserve.resumed_with"] == '{"parameter_1": "2"}'
    again.finish("FINISHED")
    version = bench.registry.publish(
        bench.package(b"x"),
        name=bench.name,
        run_id=run.id,
        contract=contract_of(bench.name),
        verification=None,
    )
    assert bench.registry.read_file(version, "report/report.html") == b"training report"


def test_a_run_is_taken_up_only_under_its_own_name(bench):
    run = bench.registry.start_run(family="n2v", name=bench.name, params={}, tags={})
    run.finish("KILLED")
    with pytest.raises(ParameterError, match=f"trained {bench.name}"):
        bench.registry.start_run(family="care", name="x", run_id=run.id, params={}, tags={})
    with pytest.raises(NotFoundError, match="has no run 'nope'"):
        bench.registry.start_run(family="n2v", name="x", run_id="nope", params={}, tags={})
