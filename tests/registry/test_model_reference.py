"""A model reference is a name with a version number or an alias."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micserve.artifact.contract import MODEL_NAME
from micserve.errors import ParameterError
from micserve.registry import ModelRef
from micserve.registry.model import ALIAS, RESERVED_ALIAS

names = st.from_regex(MODEL_NAME.removesuffix("$"), fullmatch=True)
aliases = st.from_regex(ALIAS.removesuffix("$"), fullmatch=True).filter(
    lambda alias: not re.fullmatch(RESERVED_ALIAS, alias)
)


@given(names, st.integers(1, 10**6))
def test_a_number_after_the_name_is_a_version(name, number):
    ref = ModelRef.parse(f"{name}@{number}")
    assert (ref.name, ref.version, ref.alias) == (name, number, None)
    assert ModelRef.parse(str(ref)) == ref


@given(names, aliases)
def test_a_word_after_the_name_is_an_alias(name, alias):
    ref = ModelRef.parse(f"{name}@{alias}")
    assert (ref.name, ref.version, ref.alias) == (name, None, alias)
    assert ModelRef.parse(str(ref)) == ref


@given(names)
def test_a_name_alone_means_production(name):
    assert ModelRef.parse(name) == ModelRef.parse(f"{name}@production")


@pytest.mark.parametrize("text", ["", "@3", "N2V", "n2v spots", "-n2v", "n" * 64, "n2v/spots@1"])
def test_a_bad_name_is_refused_with_an_example(text):
    with pytest.raises(ParameterError, match=r"is not a model name.*as in n2v-spots"):
        ModelRef.parse(text)


@pytest.mark.parametrize("pointer", ["", "0", "-1", "1.5", "latest", "v3", "Production", "a@b"])
def test_a_bad_version_or_alias_is_refused_with_both_forms(pointer):
    with pytest.raises(ParameterError, match=r"name@3 for version 3, or name@production"):
        ModelRef.parse(f"n2v@{pointer}")


def test_the_words_of_the_registry_do_not_import_mlflow():
    check = "import sys, micserve.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
