"""The page as people use it: a real Chromium, the real services, accounts on."""

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from micserve.codecs import image_to_bytes, read_image
from tests.services.conftest import Stack, spots
from tests.services.test_accounts import bearer, token_command
from tests.support.published import publish_denoiser
from tests.support.stack import Program, gateway
from tests.support.trainers import python_of

PAGES = ("/", "/models/spots", "/models/spots/compare?a=1&b=1", "/predict", "/qc", "/train")
PAGES += ("/jobs", "/status", "/login", "/fiji/", "/models/no-such-model")

PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # No sandbox: tests run as root in containers, and load only this server's pages.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def door(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    home = tmp_path_factory.mktemp("page")
    program = gateway(home, stack.server.url, n2v=stack.service.url, MICSERVE_ACCOUNTS="on")
    program.start()
    yield program
    program.stop()


@pytest.fixture(scope="module")
def tokens(door: Program) -> dict[str, str]:
    home = door.log.parent
    roles = {"ada": "user", "max": "maintainer", "root": "admin"}
    return {who: token_command(home, "create", who, "--role", roles[who]) for who in roles}


@pytest.fixture
def page(chromium: Browser, door: Program, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh browser, logged in to nothing; fails the test when a script fails or asks others."""
    options = getattr(request, "param", {})
    context = chromium.new_context(
        base_url=door.url, viewport={"width": 1280, "height": 860}, **options
    )
    context.set_default_timeout(PATIENCE_MS)
    tab = context.new_page()
    mistakes: list[str] = []
    hosts: set[str] = set()
    tab.on("pageerror", lambda error: mistakes.append(str(error)))
    tab.on("request", lambda asked: hosts.add(urlsplit(asked.url).netloc))
    yield tab
    context.close()
    assert not mistakes
    assert hosts - {""} <= {urlsplit(door.url).netloc}


def log_in(page: Page, token: str, path: str = "/") -> None:
    page.goto(path)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"**{path}")


def upload(page: Page, selector: str, name: str, content: bytes) -> None:
    page.set_input_files(selector, {"name": name, "mimeType": "image/tiff", "buffer": content})


def canvas_pixels(page: Page) -> np.ndarray:
    """(Y, X) uint8: the canvas as it is shown."""
    address = page.evaluate("document.getElementById('canvas').toDataURL()")
    data = read_image(io.BytesIO(base64.b64decode(address.partition(",")[2]))).data
    return np.asarray(data)[..., 0]


def assert_accessible(page: Page) -> None:
    """axe finds nothing serious, and nothing is wider than the window."""
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    where = (page.url, page.viewport_size)
    assert not serious, (where, json.dumps(serious, indent=1)[:2000])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where


def assert_shown(page: Page, wanted: np.ndarray) -> None:
    """The canvas shows these (Y, X) grey values, from the 0.2th to the 99.8th percentile."""
    page.locator("#swipe").fill("0")
    seen = canvas_pixels(page)
    size = wanted.shape[0]
    side = min(seen.shape)
    top, left = (seen.shape[0] - side) / 2, (seen.shape[1] - side) / 2
    at = (np.arange(size) + 0.5) * side / size
    shown = seen[np.ix_((top + at).astype(int), (left + at).astype(int))].astype(float)
    low, high = np.percentile(wanted, (0.2, 99.8))
    expected = np.clip((wanted - low) / (high - low), 0, 1) * 255
    # The browser's percentiles are of whole ranks, and grey values are rounded down to bytes.
    assert np.abs(shown - expected).mean() < 4


def test_people_log_in_with_their_token_and_out_again(page: Page, tokens: dict[str, str]) -> None:
    page.goto("/predict")
    page.get_by_label("Token").fill("mic_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown, expired or revoked")
    page.get_by_label("Token").fill(tokens["ada"])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/predict")
    expect(page.get_by_text("ada", exact=True)).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.goto("/")
    assert "/login" in page.url


def test_models_show_before_and_after_and_lead_to_their_versions(
    page: Page, tokens: dict[str, str]
) -> None:
    log_in(page, tokens["ada"])
    card = page.locator("article.model", has_text="spots").first
    for picture in card.locator("img").all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function(
            "image => image.complete && image.naturalWidth > 1", arg=picture.element_handle()
        )
    page.get_by_role("link", name="spots", exact=True).click()
    expect(page.get_by_role("heading", name="spots", level=1)).to_be_visible()
    page.get_by_role("tab", name="Fiji macro").press("ArrowRight")
    expect(page.get_by_role("tabpanel")).to_contain_text("spots@1")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download package").click()
    assert download.value.suggested_filename == "spots-1.zip"


def test_a_prediction_is_seen_pixel_by_pixel_and_downloaded(
    page: Page, tokens: dict[str, str], door: Program
) -> None:
    image = spots(96, 96, dtype=np.uint16, seed=3)
    wanted = read_image(
        httpx.post(
            f"{door.url}/v1/models/spots/predict",
            content=image_to_bytes(image),
            headers=bearer(tokens["ada"]),
            timeout=60,
        ).content
    ).data
    log_in(page, tokens["ada"], "/predict")
    upload(page, "#file", "spots.tif", image_to_bytes(image))
    expect(page.locator("#facts")).to_contain_text("96 × 96 px, YX, uint16, 0.1 µm per pixel")
    page.select_option("#model", "spots")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    assert_shown(page, wanted)
    with page.expect_download() as download:
        page.get_by_role("link", name="Image (TIFF)").click()
    assert np.array_equal(read_image(Path(download.value.path())).data, wanted)


def test_stacks_and_channels_have_sliders_and_contrast_changes_what_is_seen(
    page: Page, tokens: dict[str, str]
) -> None:
    log_in(page, tokens["ada"], "/predict")
    image = spots(3, 2, 40, 50, dtype=np.uint8, axes="ZCYX")
    image.data[2] = image.data[2] // 2
    upload(page, "#file", "stack.tif", image_to_bytes(image))
    expect(page.locator("#z-out")).to_have_text("1 of 3")
    expect(page.locator("#c-out")).to_have_text("1 of 2")
    expect(page.locator("#row-t")).to_be_hidden()
    first = canvas_pixels(page)
    page.locator("#z").focus()
    page.keyboard.press("End")
    expect(page.locator("#z-out")).to_have_text("3 of 3")
    assert canvas_pixels(page).mean() < first.mean()
    page.locator("#z").press("Home")
    page.locator("#low").fill("900")
    assert canvas_pixels(page).mean() < first.mean()
    page.get_by_role("button", name="Auto contrast").click()
    assert np.array_equal(canvas_pixels(page), first)
    page.locator("#canvas").press("+")
    assert not np.array_equal(canvas_pixels(page), first)
    page.locator("#canvas").press("0")
    assert np.array_equal(canvas_pixels(page), first)


def test_all_models_that_fit_are_tried_on_a_crop(page: Page, tokens: dict[str, str]) -> None:
    log_in(page, tokens["ada"], "/predict")
    upload(page, "#file", "spots.tif", image_to_bytes(spots(300, 280)))
    page.get_by_role("button", name="Try all that fit on a crop").click()
    figures = page.locator("#gallery figure")
    expect(figures.filter(has=page.locator("canvas", has_text=""))).not_to_have_count(0)
    expect(page.locator("#busy")).to_be_hidden(timeout=PATIENCE_MS)
    words = figures.all_inner_texts()
    assert words[0] == "Unprocessed"
    assert any("spots-other" in text and "Choose" in text for text in words)
    spoiled = next(text for text in words if "spots-spoiled" in text)
    assert "Choose" not in spoiled
    size = page.locator("#gallery canvas").first.evaluate("c => [c.width, c.height]")
    assert size == [256, 256]


def test_what_is_no_image_is_said_in_words(page: Page, tokens: dict[str, str]) -> None:
    log_in(page, tokens["ada"], "/predict")
    upload(page, "#file", "notes.tif", b"not an image")
    expect(page.get_by_role("alert")).to_contain_text("not a TIFF or PNG image")


def test_a_result_is_judged_on_the_page(page: Page, tokens: dict[str, str]) -> None:
    log_in(page, tokens["ada"], "/qc")
    page.get_by_role("button", name="Make the report").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose the prediction")
    clean = spots(64, 64, seed=5)
    upload(page, "[name=prediction]", "spots.tif", image_to_bytes(clean))
    upload(page, "[name=target]", "clean.tif", image_to_bytes(clean))
    upload(page, "[name=source]", "noisy.tif", image_to_bytes(spots(64, 64, seed=6)))
    page.get_by_role("button", name="Make the report").click()
    report = page.frame_locator("#frame")
    expect(report.locator("body")).to_contain_text("SSIM", timeout=PATIENCE_MS)
    with page.expect_download() as download:
        page.get_by_role("button", name="Table").click()
    assert Path(download.value.path()).read_text().startswith("image,slice,method,")


TINY = {
    **{"number_of_epochs": 3, "number_of_steps": 2, "patch_size": 16, "batch_size": 2},
    **{"unet_n_first": 4, "unet_n_depth": 1},
}
TRAINED_WITHIN_MS = 300_000


@pytest.mark.timeout(1500)
def test_a_model_is_trained_followed_promoted_used_and_judged_without_code(
    page: Page, tokens: dict[str, str]
) -> None:
    python_of("n2v")
    log_in(page, tokens["max"], "/train")
    noisy = [spots(64, 64, seed=seed) for seed in (11, 12)]
    files = [
        {"name": f"{i}.tif", "mimeType": "image/tiff", "buffer": image_to_bytes(image)}
        for i, image in enumerate(noisy)
    ]
    page.get_by_text("quick", exact=True).click()
    page.get_by_text("All parameters").click()
    for name, value in TINY.items():
        page.get_by_label(name, exact=True).fill(str(value))
        page.get_by_label(name, exact=True).blur()
    page.set_input_files("[name=source]", files)
    page.get_by_role("button", name="Check the images").click()
    expect(page.locator("#checked .alert.good")).to_contain_text("2 images fit")
    expect(page.locator("#checked .previews img")).to_have_count(2)
    expect(page.locator("#patches canvas")).to_have_count(8)
    assert page.locator("#patches canvas").first.evaluate("c => c.width") == 16
    expect(page.locator("#estimate")).to_contain_text("GiB of memory")
    assert_accessible(page)
    page.get_by_label("Name of the model").fill("n2v-page")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/jobs/*")
    expect(page.get_by_role("heading", name="Training n2v-page")).to_be_visible()
    curve = page.locator("#curve")
    expect(curve).to_have_attribute("data-points", "3", timeout=TRAINED_WITHIN_MS)
    expect(page.locator("#loss-words")).to_contain_text("Epoch 3: loss ")
    table = page.request.get(f"/v1{urlsplit(page.url).path}/metrics.tsv").text()
    assert len({line.split("\t")[1] for line in table.splitlines()[1:]}) == 3

    page.locator("#promote").wait_for(timeout=TRAINED_WITHIN_MS)
    expect(page.locator("#log")).to_contain_text("Published n2v-page@1")
    assert_accessible(page)
    page.get_by_label("Reason").fill("trained on the page")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("Version 1 of n2v-page is in production.")).to_be_visible()

    page.get_by_role("link", name="Predict with it").click()
    upload(page, "#file", "noisy.tif", image_to_bytes(noisy[0]))
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Image (TIFF)").click()
    result = read_image(Path(download.value.path())).data
    assert result.std() < noisy[0].data.std()
    assert_shown(page, result)
    assert_accessible(page)

    page.goto("/qc?model=n2v-page@1")
    upload(page, "[name=source]", "noisy.tif", image_to_bytes(noisy[0]))
    upload(page, "[name=target]", "clean.tif", image_to_bytes(spots(64, 64, seed=13)))
    page.get_by_role("button", name="Make the report").click()
    expect(page.frame_locator("#frame").locator("body")).to_contain_text("n2v-page@1")
    page.goto("/jobs")
    expect(page.locator("#done").get_by_role("row").filter(has_text="n2v-page@1")).to_be_visible()


@pytest.mark.timeout(1500)
def test_a_job_is_cancelled_and_nobody_does_what_they_may_not(
    page: Page, tokens: dict[str, str], door: Program
) -> None:
    python_of("n2v")
    log_in(page, tokens["ada"], "/jobs")
    made = page.request.post("/v1/data", data={"name": "march"}).json()["id"]
    address = f"/v1/data/{made}/files/noisy/a.tif"
    assert page.request.put(address, data=image_to_bytes(spots(64, 64))).ok
    order = {"kind": "train", "family": "n2v", "name": "n2v-never", "preset": "quick"}
    order |= {"source": f"data:{made}/noisy", "parameters": TINY | {"number_of_epochs": 5000}}
    job = page.request.post("/v1/jobs", data=order).json()["id"]
    page.reload()
    row = page.locator("#now").get_by_role("row").filter(has_text="n2v-never")
    expect(row).to_contain_text("ada")
    with httpx.Client(base_url=door.url, headers=bearer(tokens["max"])) as other:
        assert other.delete(f"/v1/data/{made}").status_code in (403, 404)
    row.get_by_role("button", name="Cancel n2v-never").click()
    ended = page.locator("#done").get_by_role("row").filter(has_text="n2v-never")
    expect(ended).to_contain_text("cancelled")
    ended.get_by_role("link").click()
    expect(page.locator("#tags")).to_contain_text("cancelled")
    assert page.url.endswith(job)
    refused = page.request.post("/v1/models/spots/promote", data={"version": 1})
    assert refused.status == 403
    assert "takes a maintainer to promote" in refused.json()["detail"]
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/jobs")
    expect(page.locator("#done")).not_to_contain_text("n2v-never")


def test_only_maintainers_are_offered_to_promote(
    page: Page, tokens: dict[str, str], stack: Stack
) -> None:
    log_in(page, tokens["ada"], "/models/spots")
    assert page.locator("[data-promote]").count() == 0
    assert page.get_by_role("heading", name="Last refused").count() == 0
    page.goto("/status")
    expect(page.get_by_role("heading", name="Services")).to_be_visible()
    assert page.get_by_role("heading", name="Last refused").count() == 0


def test_a_maintainer_sees_the_gate_and_promotes_with_a_reason_that_is_kept(
    page: Page, tokens: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    for seed in (4, 5):
        publish_denoiser(stack.registry, tmp_path, "spots-history", seed=seed)
    log_in(page, tokens["max"], "/models/spots-history")
    page.get_by_role("button", name="Compare the two").click()
    expect(page.get_by_role("heading", name="Version 1 and version 2")).to_be_visible()
    page.get_by_role("link", name="spots-history").click()
    page.locator("[data-promote='1']").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("cannot be compared")
    expect(dialog.get_by_role("checkbox")).to_be_hidden()
    dialog.get_by_label("Reason", exact=True).fill("dim spots are kept")
    dialog.get_by_role("button", name="Promote").click()
    page.get_by_text("History of promotions (3)").click()
    row = page.get_by_role("row").filter(has_text="dim spots are kept")
    expect(row).to_contain_text("max")
    expect(row).to_contain_text("production: 2 → 1")


def test_the_status_page_shows_staff_what_failed(page: Page, tokens: dict[str, str]) -> None:
    log_in(page, tokens["max"], "/status")
    page.request.post("/v1/models/no-such-model/predict", data=b"x")
    page.reload()
    row = page.get_by_role("row").filter(has_text="no-such-model").first
    expect(row).to_contain_text("404")
    expect(page.get_by_role("row").filter(has_text="n2v").first).to_contain_text("ready")


@pytest.mark.parametrize(
    "page",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}],
    indirect=True,
    ids=["light", "dark"],
)
def test_no_page_has_a_serious_accessibility_finding_or_is_too_wide(
    page: Page, tokens: dict[str, str]
) -> None:
    log_in(page, tokens["max"])
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 860})
        for path in PAGES:
            page.goto(path)
            page.wait_for_load_state("load")
            assert_accessible(page)


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    page.goto("/login")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
