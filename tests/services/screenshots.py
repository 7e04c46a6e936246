"""Pictures of every page of a running server, in light and dark, at desktop and phone width.

`make screenshots` takes them of what `make up` serves; they are for looking at, not for comparing.
What a page shows depends on what the server has: after `make demo` there is a model.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = {"desktop": 1280, "phone": 400}
SCHEMES = ("light", "dark")
PATIENCE_MS = 60_000

Shot = tuple[str, str, Callable[[Page], None]]
"""Name of the picture, address, and what to do before it is taken."""


def nothing(page: Page) -> None:
    """The page as it opens."""


def predicted(image: Path) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.set_input_files("#file", image)
        page.get_by_role("button", name="Predict", exact=True).click()
        page.get_by_role("heading", name="Result").wait_for()

    return act


def all_tried(image: Path) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.set_input_files("#file", image)
        page.get_by_role("button", name="Try all that fit").click()
        page.locator("#gallery figure").first.wait_for()
        page.locator("#busy").wait_for(state="hidden")

    return act


def refused(page: Page) -> None:
    page.set_input_files("#file", {"name": "notes.tif", "mimeType": "image/tiff", "buffer": b"no"})
    page.get_by_role("alert").wait_for()


def judged(prediction: Path, truth: Path) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.set_input_files("[name=prediction]", prediction)
        page.set_input_files("[name=target]", truth)
        page.get_by_role("button", name="Make the report").click()
        page.locator("#report").wait_for()
        page.frame_locator("#frame").locator("body").wait_for()

    return act


def checked(image: Path) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.locator("#families .choice").first.wait_for()
        page.set_input_files("[name=source]", [image])
        page.get_by_role("button", name="Check the images").click()
        page.locator("#checked .alert").wait_for()

    return act


def promoting(page: Page) -> None:
    page.locator("[data-promote]").first.click()
    page.get_by_role("dialog").wait_for()


def focused(page: Page) -> None:
    for _ in range(4):
        page.keyboard.press("Tab")


def shots(url: str, image: Path | None, truth: Path | None) -> Iterator[Shot]:
    """Of all pages; of their states where an image was given to get there."""
    for name in ("predict", "qc", "status", "login"):
        yield name, f"/{name}", nothing
    yield "models", "/", nothing
    yield "keyboard", "/", focused
    yield "no-such-model", "/models/no-such-model", nothing
    yield "train", "/train", nothing
    yield "jobs", "/jobs", nothing
    for job in httpx.get(f"{url}/v1/jobs").json()["jobs"][:6]:
        yield f"job-{job['state']}", f"/jobs/{job['id']}", nothing
    for model in httpx.get(f"{url}/v1/models").json()["models"]:
        yield f"model-{model['name']}", f"/models/{model['name']}", nothing
        if model["latest"] > 1:
            yield f"compare-{model['name']}", f"/models/{model['name']}/compare?a=1&b=2", nothing
            yield f"promote-{model['name']}", f"/models/{model['name']}", promoting
        if image:
            asked = f"/predict?model={model['name']}&version={model['latest']}"
            yield f"predicted-{model['name']}", asked, predicted(image)
    yield "predict-refused", "/predict", refused
    if image:
        yield "tried", "/predict", all_tried(image)
        yield "train-checked", "/train", checked(image)
    if image and truth:
        yield "judged", "/qc", judged(image, truth)


def take(browser: Browser, url: str, out: Path, wanted: list[Shot]) -> None:
    for scheme in SCHEMES:
        for device, width in WIDTHS.items():
            context = browser.new_context(
                base_url=url, viewport={"width": width, "height": 860}, color_scheme=scheme
            )
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            for name, path, act in wanted:
                page.goto(path)
                act(page)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=out / f"{name}-{device}-{scheme}.png", full_page=True)
            context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--image", type=Path, help="an image to predict")
    parser.add_argument("--truth", type=Path, help="its ground truth")
    parser.add_argument("--only", default="", help="pictures whose name has this in it")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium")
    if program is None:
        parser.error("no chromium here: apt-get install chromium")
    wanted = [s for s in shots(asked.url, asked.image, asked.truth) if asked.only in s[0]]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        take(browser, asked.url, asked.out, wanted)
        browser.close()


if __name__ == "__main__":
    main()
