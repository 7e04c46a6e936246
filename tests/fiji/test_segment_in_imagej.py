"""Nuclei in ImageJ: labels, outlines and numbers that belong to each other, and nothing lost."""

import pytest

from tests.fiji.conftest import BRIGHT

DISKS = [(14, 12), (40, 15), (25, 34), (60, 38)]
"""Corners (x, y) of 10 × 10 disks, far enough apart not to touch."""

DRAW = (
    'newImage("nuclei.tif", "8-bit black", 80, 60, {slices});'
    f"setColor({2 * BRIGHT:.0f});" + "".join(f"fillOval({x}, {y}, 10, 10);" for x, y in DISKS)
)


def draw(slices: int = 1) -> str:
    return DRAW.replace("{slices}", str(slices)) + 'setVoxelSize(0.5, 0.5, 1, "um");'


def test_labels_outlines_and_table_agree(macros):
    said = macros(
        draw() + 'n = micserve_segment("nuclei@1", ""); if (n < 1) return "" + micserve_error();'
        'got = "" + n + "|" + getTitle() + "|" + bitDepth() + "|" + roiManager("count");'
        "Stack.getStatistics(area, mean, min, max);"
        'got = got + "|" + max + "|" + Table.size("Results"); different = 0;'
        'for (i = 0; i < roiManager("count"); i++) { roiManager("select", i);'
        "getStatistics(area, mean, min, max); label = Table.get('label', i, 'Results');"
        "if (abs(mean - label) > 0.2 * label) different++; }"
        'selectImage("nuclei.tif"); return got + "|" + different + "|" + Overlay.size;'
    )
    assert said == "4|nuclei_nuclei-v1-labels|16|4|4|4|0|4"


def test_every_disk_is_found_where_it_was_drawn(macros):
    said = macros(
        draw() + 'n = micserve_segment("nuclei", "table=false overlay=false"); got = "";'
        f"xs = newArray({','.join(str(x + 5) for x, _ in DISKS)});"
        f"ys = newArray({','.join(str(y + 5) for _, y in DISKS)});"
        "for (i = 0; i < 4; i++) { v = getPixel(xs[i], ys[i]); got = got + (v > 0); }"
        'shown = 0; if (isOpen("Results")) shown = 1; '
        'return got + "|" + getPixel(1, 1) + "|" + shown;'
    )
    assert said == "1111|0|0"


def test_labels_have_colours_and_the_background_is_black(macros):
    said = macros(
        draw() + 'n = micserve_segment("nuclei", ""); getLut(r, g, b); getMinAndMax(low, high);'
        "same = 0; for (i = 1; i < 5; i++) if (r[i] == r[i+1] && g[i] == g[i+1]) same++;"
        'return "" + r[0] + " " + g[0] + " " + b[0] + " " + low + " " + high + " " + same;'
    )
    assert said == "0 0 0 0 255 0"


def test_outlines_of_a_selection_lie_on_the_image(macros):
    said = macros(
        draw() + "makeRectangle(30, 8, 45, 45);"
        'n = micserve_segment("nuclei", "area=selection"); got = "" + n;'
        'selectImage("nuclei.tif"); outside = 0;'
        'for (i = 0; i < n; i++) { roiManager("select", i); getStatistics(area, mean);'
        f"if (mean < {BRIGHT}) outside++; }}"
        'return got + "|" + outside + "|" + getWidth();'
    )
    assert said == "2|0|80"


def test_every_slice_of_a_stack_has_its_objects(macros):
    said = macros(
        draw(3) + 'run("Select All"); run("Copy"); setSlice(3); run("Paste"); run("Select None");'
        'n = micserve_segment("nuclei", ""); getDimensions(w, h, c, z, t); places = "";'
        'for (i = 0; i < roiManager("count"); i++) { roiManager("select", i);'
        " places = places + getSliceNumber(); }"
        'return "" + n + "|" + z * t + "|" + places;'
    )
    assert said == "8|3|11113333"


def test_what_was_in_the_roi_manager_and_in_results_stays(macros):
    said = macros(
        draw() + 'makeRectangle(1, 1, 5, 5); roiManager("add"); run("Measure");'
        'n = micserve_segment("nuclei", ""); roiManager("select", 0); '
        "getSelectionBounds(x, y, w, h); "
        'got = "" + roiManager("count") + "|" + x + "," + y + "," + w + "," + h;'
        'got = got + "|" + Table.size("Results") + "|"'
        ' + Table.size("Results of nuclei.tif"); selectImage("nuclei.tif");'
        'return got + "|" + Overlay.size;'
    )
    assert said == "5|1,1,5,5|1|4|4"


def test_an_overlay_of_the_users_stays(macros):
    said = macros(
        draw() + "makeRectangle(1, 1, 5, 5); Overlay.addSelection; run('Select None');"
        'n = micserve_segment("nuclei", ""); selectImage("nuclei.tif"); return "" + Overlay.size;'
    )
    assert said == "1"
    assert "overlay of its own" in macros.imagej.log()


def test_nothing_found_is_no_error(macros):
    said = macros(
        'newImage("empty", "8-bit black", 64, 64, 1); n = micserve_segment("nuclei", "");'
        'return "" + n + "|" + micserve_error() + "|" + roiManager("count");'
    )
    assert said == "0||0"


@pytest.mark.parametrize(
    "words", ["probThresh=0.9 nmsThresh=0.3", "prob_thresh=0.9 nms_thresh=0.3"]
)
def test_the_names_of_the_stardist_plugin_are_understood(macros, words):
    said = macros(draw() + f'return "" + micserve_segment("nuclei", "{words}") + micserve_error();')
    assert said == "4"


def test_a_threshold_out_of_range_is_refused_by_name(macros):
    said = macros(
        draw() + 'n = micserve_segment("nuclei", "prob_thresh=7");'
        'return "" + n + "|" + micserve_error_kind() + "|" + micserve_error();'
    )
    assert said.startswith("-1|input|")
    assert "prob_thresh" in said
