"""What a person may ask of a training; runs without any training framework."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micserve.errors import ParameterError
from training.common.command import parse
from training.common.config import assemble
from training.n2v.config import PRESETS as BY_DIMENSIONS
from training.n2v.config import N2VConfig

PRESETS = BY_DIMENSIONS[2]
NEEDED = {"data": "folder", "name": "n2v-mine"}


def asked(flags: dict[str, object], file: Path | None = None):
    return assemble(N2VConfig, PRESETS, flags={**NEEDED, **flags}, file=file)


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("preset: quick\nnumber_of_epochs: 3\nbatch_size: 4\n")
    found = asked({"batch_size": "2"}, file)
    assert (found.preset, found.config.unet_n_first) == ("quick", 16)
    assert (found.config.number_of_epochs, found.config.batch_size) == (3, 2)


def test_only_what_was_given_counts_as_requested():
    found = asked({"preset": "zerocost", "number_of_epochs": "7"})
    assert dict(found.requested) == {**NEEDED, "number_of_epochs": "7"}
    assert found.config.batch_norm is True


def test_names_may_be_spelled_as_in_the_notebook():
    assert asked({"Use_Data_augmentation": "false"}).config.use_data_augmentation is False


@pytest.mark.parametrize(
    ("wrong", "meant"), [("number_of_epoch", "number_of_epochs"), ("patchsize", "patch_size")]
)
def test_an_unknown_name_is_refused_with_the_nearest_that_there_is(wrong, meant):
    with pytest.raises(ParameterError, match=f"{wrong}.*did you mean {meant}"):
        asked({wrong: "3"})


def test_an_unknown_name_in_the_file_is_refused_by_name(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("batchsize: 4\n")
    with pytest.raises(ParameterError, match=r"batchsize.*mine\.yaml.*batch_size"):
        asked({}, file)


def test_everything_out_of_range_is_said_at_once():
    with pytest.raises(ParameterError) as error:
        asked({"patch_size": "3", "batch_size": "0", "initial_learning_rate": "fast"})
    for name in ("patch_size", "batch_size", "initial_learning_rate"):
        assert name in str(error.value)


def test_a_missing_folder_and_name_are_asked_for():
    with pytest.raises(ParameterError, match=r"--data.*--name"):
        assemble(N2VConfig, PRESETS, flags={})


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset):
    assert asked({"preset": preset}).config


def test_an_unknown_preset_is_answered_with_those_that_there_are():
    with pytest.raises(ParameterError, match="recommended, quick or zerocost"):
        asked({"preset": "best"})


def test_only_the_notebooks_preset_has_batch_norm():
    with_it = [name for name in PRESETS if asked({"preset": name}).config.batch_norm]
    assert with_it == ["zerocost"]


def test_a_flag_without_a_value_is_refused():
    with pytest.raises(ParameterError, match="needs a value"):
        parse(N2VConfig, PRESETS, "N2V", ["--name", "--data", "folder"])


def test_help_says_every_parameter(capsys):
    with pytest.raises(SystemExit):
        parse(N2VConfig, PRESETS, "N2V", ["--help"])
    text = capsys.readouterr().out
    assert all(f"--{name} " in text for name in N2VConfig.model_fields)
    assert all(field.description for field in N2VConfig.model_fields.values())


@given(st.integers(1, 5), st.sampled_from([3, 5, 7]))
def test_the_reach_is_a_multiple_of_the_stride(depth, kernel):
    config = N2VConfig(data=Path(), name="a", unet_n_depth=depth, unet_kern_size=kernel)
    assert config.reach % config.stride == 0
