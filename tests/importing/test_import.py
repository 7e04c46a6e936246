"""Models from elsewhere become ours, or are refused in words; nothing of them is run or trusted."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from micserve.artifact.package import open_package
from micserve.backends.onnx import OnnxBackend
from micserve.codecs import image_to_bytes, read_image
from micserve.errors import PackageError, ParameterError
from micserve.families import FAMILIES
from micserve.image import Image
from micserve.importing import Imported, import_model
from micserve.normalize import ScaleRange, fit
from micserve.predict import LoadedModel, predict
from micserve.registry import RegistrySettings, open_registry
from micserve.registry.server import DATABASE
from tests.support.registry_server import RegistryServer
from tests.support.stack import family_service, gateway
from tests.support.trainers import python_of

Importer = Callable[..., Imported]


@pytest.fixture
def bring_in(tmp_path: Path) -> Importer:
    def one(source: Path, **asked: object) -> Imported:
        scratch = tmp_path / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return import_model(source, name="imported", scratch=scratch, **asked)  # type: ignore[arg-type]

    return one


@pytest.fixture
def broad(shared_data: Path, tmp_path: Path) -> Path:
    """A bioimage.io U-Net with ONNX and TorchScript weights, to be changed at will."""
    folder = tmp_path / "broad"
    folder.mkdir()
    for path in (shared_data / "models" / "unet2d_nuclei_broad").iterdir():
        shutil.copyfile(path, folder / path.name)
    return folder


def answers(imported: Imported, image: np.ndarray, **asked: object) -> np.ndarray:
    """What the package predicts, through the library as a service runs it."""
    package = open_package(imported.path)
    model = LoadedModel(package.contract, OnnxBackend(package.onnx, provider="cpu"))
    parameters = FAMILIES[package.contract.family].parameters(**asked)
    return np.asarray(predict(Image(image, "YX"), model, parameters).image.data)


@pytest.mark.parametrize("description", ["bioimageio.yaml", "v0_4_9.bioimageio.yaml"])
def test_a_zoo_model_of_either_format_gives_the_answer_that_came_with_it(
    broad: Path, bring_in: Importer, description: str
) -> None:
    imported = bring_in(broad / description)
    assert imported.contract.family == "unet"
    source = np.load(broad / "test_input.npy")[0, 0]
    expected = np.load(broad / "test_output.npy")[0, 0]
    got = answers(imported, source.astype(np.uint16), result="probability")
    # float32 sums in another order; the authors' file was made by another runtime
    np.testing.assert_allclose(got.squeeze(), expected, atol=1e-5)


def test_torchscript_is_converted_where_torch_is_and_gives_the_same_answer(
    broad: Path, bring_in: Importer
) -> None:
    python_of("torch")
    (broad / "v0_4_9.bioimageio.yaml").unlink()
    words = yaml.safe_load((broad / "bioimageio.yaml").read_text())
    del words["weights"]["onnx"]
    (broad / "bioimageio.yaml").write_text(yaml.safe_dump(words))
    imported = bring_in(broad)
    checks = {check.name: check for check in imported.verification.checks}
    assert checks["framework agreement"].passed
    assert checks["test tensors of the original"].passed


@pytest.mark.parametrize("source", ["care2d_salomepx", "care2d_salomepx/TF_SavedModel.zip"])
def test_a_csbdeep_model_is_imported_from_its_folder_and_from_its_export_for_fiji(
    shared_data: Path, bring_in: Importer, source: str
) -> None:
    python_of("tf")
    imported = bring_in(shared_data / "models" / source)
    contract = imported.contract
    assert (contract.family, contract.restore_range) == ("care", True)
    assert contract.normalization == ScaleRange(min_percentile=2, max_percentile=99.8)
    noisy = np.asarray(read_image(next((shared_data / "w2s").rglob("*avg1*/*.tif"))).data)
    assert np.isfinite(answers(imported, noisy[:128, :128])).all()


@pytest.mark.parametrize(("environment", "name"), [("tf", "stardist"), ("n2v", "n2v")])
def test_a_model_folder_predicts_as_the_package_that_wrote_it(
    tmp_path: Path, bring_in: Importer, environment: str, name: str
) -> None:
    script = Path(__file__).with_name("untrained_folders.py")
    command = [python_of(environment), script, name, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    [folder] = [path for path in tmp_path.iterdir() if (path / "config.json").is_file()]
    imported = bring_in(folder)
    assert imported.contract.family == name
    made = np.load(tmp_path / "expected.npz")
    got = answers(imported, made["image"]).squeeze()
    if name == "stardist":
        assert made["answer"].max() > 3
        # one pixel whose centre lies on an outline may fall to either side
        assert (got == made["answer"]).mean() > 0.999
        assert imported.contract.parameters["nms_thresh"] == 0.3
    else:
        np.testing.assert_allclose(got, made["answer"], rtol=1e-4, atol=1e-2)


def test_an_imported_model_is_served_through_the_gateway(
    broad: Path, empty_registry: Path, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from micserve.cli import app

    shutil.copyfile(empty_registry / DATABASE, tmp_path / DATABASE)
    server = RegistryServer(tmp_path)
    server.start()
    environment = {"MICSERVE_REGISTRY": server.url, "MICSERVE_HOME": str(tmp_path / "home")}
    service = family_service("unet", tmp_path, server.url)
    door = gateway(tmp_path, server.url, n2v="http://127.0.0.1:9", MICSERVE_UNET_URL=service.url)
    try:
        done = CliRunner().invoke(
            app, ["import", str(broad), "--name", "zoo-nuclei"], env=environment
        )
        assert done.exit_code == 0, done.output
        registry = open_registry(server.url, settings=RegistrySettings(cache=tmp_path / "cache"))
        [model] = registry.list_models()
        assert model.latest.aliases == ("candidate",)
        assert model.latest.verification is not None
        assert model.latest.verification.passed
        service.start()
        door.start()
        source = np.load(broad / "test_input.npy")[0, 0]
        answer = httpx.post(
            f"{door.url}/v1/models/zoo-nuclei/predict",
            params={"version": "candidate", "result": "probability"},
            content=image_to_bytes(Image(source.astype(np.uint16), "YX")),
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        got = np.asarray(read_image(answer.content).data).squeeze()
        np.testing.assert_allclose(got, np.load(broad / "test_output.npy")[0, 0], atol=1e-5)
    finally:
        door.stop()
        service.stop()
        server.kill()


def test_what_cannot_be_run_here_is_refused_with_the_reason(
    shared_data: Path, bring_in: Importer
) -> None:
    models = shared_data / "models"
    with pytest.raises(PackageError, match="keep the size of the image"):
        bring_in(models / "upsample_test_model")
    with pytest.raises(PackageError, match="without the network that they belong to"):
        bring_in(models / "stardist_dsb2018_torch")


def _change(broad: Path, **changes: object) -> Path:
    (broad / "v0_4_9.bioimageio.yaml").unlink()
    words = yaml.safe_load((broad / "bioimageio.yaml").read_text())
    for path, value in changes.items():
        place = words
        *parents, last = path.split("__")
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
    (broad / "bioimageio.yaml").write_text(yaml.safe_dump(words))
    return broad


def test_an_unknown_step_before_the_network_is_named(broad: Path, bring_in: Importer) -> None:
    step = {"id": "binarize", "kwargs": {"threshold": 3.0}}
    with pytest.raises(PackageError, match="wants binarize before the network"):
        bring_in(_change(broad, inputs__0__preprocessing=[step]))


def test_weights_that_are_not_the_described_ones_are_refused(
    broad: Path, bring_in: Importer
) -> None:
    with pytest.raises(PackageError, match="is not the file that the description names"):
        bring_in(_change(broad, weights__onnx__sha256="0" * 64))


def test_weights_behind_a_web_address_are_not_fetched(broad: Path, bring_in: Importer) -> None:
    with pytest.raises(PackageError, match="nothing is fetched"):
        bring_in(_change(broad, weights__onnx__source="https://example.com/weights.onnx"))


def test_a_state_dict_that_needs_foreign_code_is_refused(broad: Path, bring_in: Importer) -> None:
    words = yaml.safe_load((broad / "bioimageio.yaml").read_text())["weights"]
    only = {"pytorch_state_dict": words["pytorch_state_dict"]}
    with pytest.raises(PackageError, match="needs Python code"):
        bring_in(_change(broad, weights=only))


def test_a_network_that_does_not_give_its_test_output_is_not_imported(
    broad: Path, bring_in: Importer
) -> None:
    from micserve.errors import VerificationError
    from micserve.files import sha256_of

    np.save(broad / "test_output.npy", np.load(broad / "test_output.npy")[..., ::-1])
    digest = sha256_of(broad / "test_output.npy")
    with pytest.raises(VerificationError, match="differs from the test output"):
        bring_in(_change(broad, outputs__0__test_tensor__sha256=digest))


def test_a_family_that_nobody_named_is_asked_for(broad: Path, bring_in: Importer) -> None:
    changed = _change(broad, outputs__0__postprocessing=[], tags=["nucleus"])
    with pytest.raises(ParameterError, match="--family"):
        bring_in(changed)


def test_a_zip_that_leads_out_of_its_folder_is_refused(tmp_path: Path, bring_in: Importer) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../outside.txt", "x")
    with pytest.raises(PackageError, match="outside of its folder"):
        bring_in(tmp_path / "evil.zip")
    assert not (tmp_path.parent / "outside.txt").exists()


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_a_file_that_is_no_model_is_refused(
    tmp_path: Path, bring_in: Importer, content: bytes
) -> None:
    (tmp_path / "model.zip").write_bytes(content)
    with pytest.raises(PackageError, match=r"no zip file.*Give a bioimage.io package"):
        bring_in(tmp_path / "model.zip")


def test_a_missing_environment_says_how_to_set_it_up(
    tmp_path: Path, bring_in: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICSERVE_ENVIRONMENTS", str(tmp_path / "none"))
    folder = tmp_path / "nuclei"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"n_rays": 32, "n_dim": 2}))
    with pytest.raises(ParameterError, match="make setup-tf"):
        bring_in(folder)


def test_a_network_with_a_fixed_batch_and_size_is_freed(tmp_path: Path) -> None:
    from micserve.importing import onnx_network

    sizes = [1, 1, 32, 32]
    kernel = onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "kernel")
    node = helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [kernel],
    )
    path = tmp_path / "fixed.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    model = onnx_network.load(path)
    assert onnx_network.total_stride(model, ndim=2) == (1, 1)
    onnx_network.free_sizes(model)
    onnx_network.save(model, path)
    image = np.ones((2, 1, 7, 9), np.float32)
    assert OnnxBackend(path, provider="cpu").run(image)["y"].shape == image.shape


def test_percentiles_are_those_of_csbdeep() -> None:
    image = np.arange(1000, dtype=np.float32).reshape(1, 25, 40)
    affine = fit(image, ScaleRange(min_percentile=2, max_percentile=99.8))
    low, high = np.percentile(image, [2, 99.8])
    np.testing.assert_allclose(affine.apply(image), (image - low) / (high - low), atol=1e-6)
