"""A card shows plain values and fits into a tag, whatever a trainer puts into its contract."""

from hypothesis import given, settings
from hypothesis import strategies as st

from micserve.registry.card import MOST_VALUES, card_of, plain_values
from micserve.registry.model import Card
from micserve.registry.tags import LONGEST_VERSION_TAG

from .conftest import contract_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just("µ" * 10**4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=300), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(max_size=300), values, max_size=5))
def test_any_provenance_gives_a_card_that_fits_and_reads_back_the_same(tree):
    contract = contract_of("n2v").model_copy(update={"training": tree, "parameters": tree})
    card = card_of(contract, description="", size_bytes=1)
    text = card.model_dump_json()
    assert len(text) <= LONGEST_VERSION_TAG
    assert Card.model_validate_json(text) == card


def test_the_largest_card_fits():
    tree = {f"{k}{'µ' * 400}": "µ" * 10**4 for k in range(10**4)}
    contract = contract_of("n2v").model_copy(update={"training": tree, "parameters": tree})
    card = card_of(contract, description="µ" * 10**5, size_bytes=1)
    assert len(card.training) == len(card.parameters) == MOST_VALUES
    assert len(card.model_dump_json().encode()) < 65_535


def test_nested_names_are_joined_and_lists_left_out():
    tree = {"seed": 1, "effective": {"epochs": 30, "loss": "mse"}, "files": ["a.tif"]}
    assert plain_values(tree) == {"seed": 1, "effective.epochs": 30, "effective.loss": "mse"}


def test_the_card_has_what_a_client_asks_before_it_sends_an_image():
    card = card_of(contract_of("n2v"), description="spots", size_bytes=20)
    assert (card.axes, card.channels, card.outputs) == ("YX", 1, {"denoised": 1})
    assert (card.halo, card.multiple, card.normalization) == ((22, 22), (4, 4), "scale_range")
    assert card.pixel_size_um == {"Y": 0.1, "X": 0.1}
    assert card.training == {"effective.number_of_epochs": 30}
