"""What is packed comes out again; what nobody should open is refused in words."""

import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from micserve.artifact import archive
from micserve.artifact.build import Architecture, NativeWeights
from micserve.artifact.package import open_package
from micserve.errors import DigestMismatchError, PackageError
from micserve.files import sha256_of
from tests.support.networks import small_unet
from tests.support.packages import CARD, small_package


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    report = folder / "report.html"
    report.write_text("<p>trained</p>")
    return small_package(
        folder / "model.zip",
        attachments={"report/training.html": report},
        changes={"pixel_size_um": {"Y": 0.07, "X": 0.07}, "training": {"seed": 7}},
    )


def rewritten(
    package: Path, target: Path, change: Callable[[dict[str, bytes]], None], **options: int
) -> Path:
    """The package with other members, as somebody with a zip program would make it."""
    with zipfile.ZipFile(package) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def test_what_was_packed_comes_out_again(package, tmp_path):
    opened = open_package(package, into=tmp_path)
    assert opened.digest == sha256_of(package)
    assert opened.contract.name == "n2v-test"
    assert opened.contract.training == {"seed": 7}
    assert opened.contract.network.tiling.halo == (12, 12)
    assert opened.onnx.read_bytes() == package.with_suffix(".onnx").read_bytes()
    assert opened.test_input.dtype == np.float32
    assert opened.test_input.shape == opened.test_output["output"].shape == (1, 1, 40, 40)
    assert (opened.folder / "report" / "training.html").read_text() == "<p>trained</p>"


def test_the_same_model_gives_the_same_digest_on_any_day(tmp_path):
    first = small_package(tmp_path / "a.zip")
    os.utime(first.with_suffix(".onnx"), (0, 0))
    second = small_package(tmp_path / "b.zip", onnx=first.with_suffix(".onnx"))
    assert sha256_of(first) == sha256_of(second)


def test_another_model_gives_another_digest(tmp_path):
    first, second = (small_package(tmp_path / f"{seed}.zip", seed=seed) for seed in (1, 2))
    assert sha256_of(first) != sha256_of(second)


def test_reading_a_package_loads_no_bioimageio_and_no_onnx(package, tmp_path):
    code = (
        "import sys; from pathlib import Path; from micserve.artifact.package import open_package;"
        f"open_package(Path({str(package)!r}), into=Path({str(tmp_path)!r}));"
        "print([m for m in ('bioimageio', 'onnx', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_unpacked_before_are_used_again(package, tmp_path):
    first = open_package(package, into=tmp_path)
    before = first.onnx.stat().st_ino
    assert open_package(package, into=tmp_path).onnx.stat().st_ino == before
    assert [p.name for p in tmp_path.iterdir()] == [first.digest]


def test_a_cached_file_that_was_changed_is_unpacked_anew(package, tmp_path):
    opened = open_package(package, into=tmp_path)
    right = opened.onnx.read_bytes()
    opened.onnx.write_bytes(b"something else")
    assert open_package(package, into=tmp_path).onnx.read_bytes() == right
    assert [p.name for p in tmp_path.iterdir()] == [opened.digest]


def test_what_a_killed_program_left_half_unpacked_is_removed_a_day_later(package, tmp_path):
    old, young = tmp_path / ".unpack-old", tmp_path / ".unpack-young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    opened = open_package(package, into=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".unpack-young", opened.digest}


def test_a_digest_that_was_not_published_is_refused(package, tmp_path):
    with pytest.raises(DigestMismatchError, match="the file was changed or is damaged"):
        open_package(package, into=tmp_path, digest="0" * 64)
    assert not list(tmp_path.iterdir())


def test_a_published_digest_may_name_its_algorithm(package, tmp_path):
    open_package(package, into=tmp_path, digest=f"sha256:{sha256_of(package)}")


def test_a_missing_file_is_refused_in_words(tmp_path):
    with pytest.raises(PackageError, match="there is no model package at"):
        open_package(tmp_path / "absent.zip")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused_in_words(package, tmp_path, keep):
    size = package.stat().st_size
    damaged = tmp_path / "cut.zip"
    damaged.write_bytes(package.read_bytes()[: int(keep * size) if keep < 1 else keep])
    with pytest.raises(PackageError, match=r"cut\.zip is not a whole zip file"):
        open_package(damaged, into=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir()), "nothing half unpacked is left"


def test_a_flipped_bit_is_found_wherever_it_is(package, tmp_path):
    content = bytearray(package.read_bytes())
    damaged = tmp_path / "flipped.zip"
    for place in np.random.default_rng(0).integers(0, len(content), 40):
        content[place] ^= 16
        damaged.write_bytes(content)
        content[place] ^= 16
        try:
            opened = open_package(damaged, into=tmp_path / "cache")
        except PackageError:
            continue
        # What was flipped is a field of the zip (a date, say) that no file depends on.
        assert opened.onnx.read_bytes() == package.with_suffix(".onnx").read_bytes()


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"]
)
def test_a_file_that_would_leave_its_folder_is_refused(package, tmp_path, name):
    bad = rewritten(package, tmp_path / "bad.zip", lambda m: m.update({name: b"evil"}))
    with pytest.raises(PackageError, match="outside of its folder"):
        open_package(bad, into=tmp_path / "cache" / "deep")
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_link_is_refused(package, tmp_path):
    bad = tmp_path / "link.zip"
    shutil.copy(package, bad)
    with zipfile.ZipFile(bad, "a") as target:
        link = zipfile.ZipInfo("secrets")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, "/etc/passwd")
    with pytest.raises(PackageError, match="link or device"):
        open_package(bad, into=tmp_path / "cache")


def test_a_file_that_is_there_twice_is_refused(package, tmp_path):
    bad = tmp_path / "twice.zip"
    shutil.copy(package, bad)
    with zipfile.ZipFile(bad, "a") as target, pytest.warns(UserWarning, match="Duplicate name"):
        target.writestr("weights.onnx", b"another network")
    with pytest.raises(PackageError, match=r"holds weights\.onnx twice"):
        open_package(bad, into=tmp_path / "cache")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(package, tmp_path):
    bomb = rewritten(
        package,
        tmp_path / "bomb.zip",
        lambda m: m.update(zeros=bytes(archive.SMALL + 1)),
        compression=zipfile.ZIP_DEFLATED,
    )
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(PackageError, match="would unpack from 0 MiB to 64 MiB"):
        open_package(bomb, into=tmp_path / "cache")


def test_a_zip_of_a_great_many_files_is_refused(package, tmp_path):
    def many(members: dict[str, bytes]) -> None:
        members.update({f"{n}.txt": b"" for n in range(archive.MAX_FILES)})

    bad = rewritten(package, tmp_path / "many.zip", many)
    with pytest.raises(PackageError, match="at most 1000 are accepted"):
        open_package(bad, into=tmp_path / "cache")


def described(change: Callable[[dict], None]) -> Callable[[dict[str, bytes]], None]:
    """Change the description inside the package."""

    def edit(members: dict[str, bytes]) -> None:
        content = yaml.safe_load(members["rdf.yaml"])
        change(content)
        members["rdf.yaml"] = yaml.safe_dump(content).encode()

    return edit


def with_test_input(values: np.ndarray) -> Callable[[dict[str, bytes]], None]:
    """Another test input, with the digest that the description needs."""

    def edit(members: dict[str, bytes]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=True)
        forged(members, "test_input.npy", buffer.getvalue())

    return edit


def forged(members: dict[str, bytes], name: str, content: bytes) -> None:
    import hashlib

    old, new = (hashlib.sha256(c).hexdigest().encode() for c in (members[name], content))
    members[name] = content
    members["rdf.yaml"] = members["rdf.yaml"].replace(old, new)


class Pickled:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pickle-was-run",)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.pop("rdf.yaml"), "no file rdf.yaml"),
        (lambda m: m.pop("weights.onnx"), "no file weights.onnx"),
        (lambda m: m.update({"weights.onnx": b"other"}), "is not the file that its description"),
        (lambda m: m.update({"rdf.yaml": b"{"}), "not readable YAML"),
        (lambda m: m.update({"rdf.yaml": b"\xff\xfe\x00"}), "not readable YAML"),
        (lambda m: m.update({"rdf.yaml": b"[" * 100_000}), "nested more than 64 levels"),
        (lambda m: m.update({"rdf.yaml": b"a model"}), "does not describe a model"),
        (lambda m: m.update({"rdf.yaml": b"a: &x [1]\nb: [*x, *x]"}), "uses YAML aliases"),
        (lambda m: m.update({"rdf.yaml": b"!!python/object:os.system {}"}), "not readable YAML"),
        (described(lambda d: d["config"].pop("micserve")), "was not made by micserve"),
        (described(lambda d: d.update(config=3)), "was not made by micserve"),
        (
            described(lambda d: d["config"]["micserve"].update(contract=2)),
            "It may come from a newer micserve",
        ),
        (
            described(lambda d: d["config"]["micserve"]["network"].update(weights="../x")),
            "outside of its folder",
        ),
        (described(lambda d: d["outputs"][0].pop("test_tensor")), "lacks a test tensor"),
        (described(lambda d: d.pop("inputs")), "lacks a test tensor"),
        (described(lambda d: d.update(inputs="x")), "lacks a test tensor"),
        (with_test_input(np.array([Pickled()], object)), "test tensor test_input.npy"),
        (with_test_input(np.zeros((1, 1, 40, 40))), "float64, not float32"),
        (with_test_input(np.zeros((1, 40, 40), np.float32)), "do not have 4 axes each"),
        (lambda m: forged(m, "test_input.npy", b"not an array"), "test_input.npy in the package"),
        (
            lambda m: forged(m, "test_input.npy", m["test_input.npy"][:-1]),
            "test_input.npy in the package",
        ),
        (
            lambda m: forged(
                m, "test_input.npy", m["test_input.npy"].replace(b"40, 40", b"9000000, 9000000")
            ),
            "test_input.npy in the package",
        ),
    ],
)
def test_a_package_that_was_tampered_with_is_refused_in_words(
    package, tmp_path, monkeypatch, change, sentence
):
    monkeypatch.chdir(tmp_path)
    bad = rewritten(package, tmp_path / "bad.zip", change)
    with pytest.raises(PackageError, match=sentence):
        open_package(bad, into=tmp_path / "cache")
    assert not (tmp_path / "pickle-was-run").exists()


def test_a_zip_of_something_else_is_refused_in_words(tmp_path):
    other = tmp_path / "photos.zip"
    with zipfile.ZipFile(other, "w") as target:
        target.writestr("holiday.jpg", b"")
    with pytest.raises(PackageError, match="it is not a whole model package"):
        open_package(other, into=tmp_path / "cache")


ODD = np.ones((1, 1, 39, 39))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"test_output": {}}, "the contract names the heads"),
        ({"test_input": np.zeros((1, 2, 40, 40))}, "the test input has shape"),
        ({"test_output": {"output": np.zeros((1, 1, 40, 41))}}, "the test output output has shape"),
        ({"test_input": ODD, "test_output": {"output": ODD}}, "description would not be valid"),
        ({"card": replace(CARD, license="my own")}, "description would not be valid"),
        ({"attachments": {"rdf.yaml": Path(__file__)}}, "two files of the package"),
        ({"attachments": {"weights.onnx": Path(__file__)}}, "two files of the package"),
        ({"attachments": {"report.pdf": Path("absent.pdf")}}, "there is no such file"),
        ({"attachments": {"../report.pdf": Path(__file__)}}, "outside of its folder"),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_not_packed(tmp_path, arguments, sentence):
    with pytest.raises(PackageError, match=sentence):
        small_package(tmp_path / "model.zip", **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_network_with_weights_in_a_second_file_is_not_packed(tmp_path):
    model = onnx.load(str(small_unet(tmp_path / "one.onnx")))
    split = tmp_path / "two.onnx"
    onnx.save(model, str(split), save_as_external_data=True, location="two.data", size_threshold=99)
    with pytest.raises(PackageError, match="export the network as one file"):
        small_package(tmp_path / "model.zip", onnx=split)


def test_native_weights_are_the_parent_of_the_onnx_network(tmp_path):
    native, code = tmp_path / "weights.pt", tmp_path / "unet.py"
    native.write_bytes(b"weights")
    code.write_text("class UNet: ...")
    weights = NativeWeights(
        "pytorch_state_dict", native, "2.4.0", Architecture(code, "UNet", {"depth": 2})
    )
    opened = open_package(small_package(tmp_path / "model.zip", native=weights))
    stated = opened.rdf["weights"]
    assert stated["onnx"]["parent"] == "pytorch_state_dict"
    assert stated["pytorch_state_dict"]["architecture"]["callable"] == "UNet"
    assert (opened.folder / "weights_pytorch_state_dict.pt").read_bytes() == b"weights"


def test_keras_weights_name_their_tensorflow(tmp_path):
    native = tmp_path / "model.h5"
    native.write_bytes(b"weights")
    weights = NativeWeights("keras_hdf5", native, "2.15.1")
    opened = open_package(small_package(tmp_path / "model.zip", native=weights))
    assert opened.rdf["weights"]["keras_hdf5"]["tensorflow_version"] == "2.15.1"
