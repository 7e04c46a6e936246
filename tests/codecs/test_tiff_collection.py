"""Some 200 TIFF files from many writers, good and broken: read right, or refused in words."""

import ast
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REFUSED_THOUGH_TIFFFILE_READS = {
    "SEPARATED": "CMYK",
    "CIELAB": "CIELAB",
    "WEBP": "WebP",
}
"""Photometric interpretation or compression in the inventory to what our sentence says."""

PALETTE_WITH_ALPHA = "rdf.tif"


@pytest.fixture(scope="module")
def answers(
    shared_data: Path, in_a_cage: Callable[[list[Path]], list[dict[str, Any]]]
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    folder = shared_data / "tiff_io"
    if not (folder / "inventory.csv").is_file():
        pytest.skip(f"no collection of TIFF files at {folder}")
    with (folder / "inventory.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if path_of(folder, row).is_file()]
    assert len(rows) > 190
    found = in_a_cage([path_of(folder, row) for row in rows])
    return list(zip(rows, found, strict=True))


def path_of(folder: Path, row: dict[str, str]) -> Path:
    return folder / row["src"] / row["path"]


def test_every_file_that_tifffile_decodes_is_read_or_refused_for_a_known_reason(answers):
    for row, answer in answers:
        if row["decode"] == "ok" and "error" in answer:
            reasons = [
                words
                for what, words in REFUSED_THOUGH_TIFFFILE_READS.items()
                if what in (row["photometric"], row["compression"])
            ]
            known = reasons and reasons[0] in answer["says"]
            assert known or row["path"].endswith(PALETTE_WITH_ALPHA), (row["path"], answer)


def test_every_file_that_is_read_has_the_pixels_that_tifffile_finds(answers):
    read = [(row, answer) for row, answer in answers if "error" not in answer]
    assert len(read) > 170
    for row, answer in read:
        assert answer["equals_tifffile"], (row["path"], answer)
        assert answer["as_probed"], row["path"]


def test_every_file_that_is_read_has_the_size_and_type_of_the_inventory(answers):
    for row, answer in answers:
        if "error" in answer:
            continue
        expected = ast.literal_eval(row["shape"])
        painted = row["photometric"] == "PALETTE" and answer["axes"].endswith("S")
        if painted:
            expected = (*expected, 3)
        assert sorted(answer["shape"]) == sorted(expected), row["path"]
        assert answer["dtype"] == ("uint8" if row["dtype"] == "bool" else row["dtype"]), row["path"]


def test_files_that_nobody_decodes_are_refused_in_a_sentence(answers):
    broken = [(row, answer) for row, answer in answers if row["decode"] != "ok"]
    assert broken
    for row, answer in broken:
        assert "error" in answer, row["path"]
        assert Path(row["path"]).name in answer["says"]
        assert "Traceback" not in answer["says"]


def test_no_refusal_is_a_guess(answers):
    """Each file is refused by a rule, none by whatever a decoder happened to raise."""
    unexplained = [
        (row["path"], answer["says"])
        for row, answer in answers
        if "could not be decoded" in answer.get("says", "")
    ]
    assert not unexplained
