"""Quality reports on request: computed in processes of their own, a bounded number at a time.

A report of large stacks takes seconds to minutes of a processor; in the
gateway's own process it would hold up every image on its way through.
"""

import asyncio
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from micserve.codecs import read_image, write_tiff
from micserve.errors import BusyError, ServiceUnavailableError
from micserve.image import Image
from micserve.serving.process import die_with_parent

ReportFormat = Literal["application/json", "text/html", "text/csv", "application/zip"]

FORMATS: tuple[ReportFormat, ...] = (
    "application/json",
    "text/html",
    "text/csv",
    "application/zip",
)

ENDINGS: dict[ReportFormat, str] = {
    "application/json": "json",
    "text/html": "html",
    "text/csv": "csv",
    "application/zip": "zip",
}

Map = NDArray[np.float32]

MAPS = {"prediction": "Prediction", "input": "Source"}
"""Method to its name in the notebooks' file names."""

USUAL_WAIT_S = 30


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """One image to be judged. Sources are files or their bytes."""

    name: str
    prediction: bytes | Path
    target: bytes | Path
    source: bytes | Path | None
    model: str
    """`name@version`, or empty."""
    digest: str
    format: ReportFormat
    folder: Path
    """Where the report may be written."""


class QualityDesk:
    """Runs reports; used from the event loop's thread only."""

    def __init__(self, *, processes: int, waiting: int) -> None:
        self._processes, self._places = processes, processes + waiting
        self._taken = 0
        self._pool = self._new_pool()

    async def report(self, order: ReportOrder) -> Path:
        """The finished report, a file in the order's folder.

        Raises
        ------
        BusyError
            When as many reports wait as may.
        QualityControlError, ImageFormatError
            What is wrong with the images.
        """
        self.refuse_when_full()
        self._taken += 1
        try:
            future = self._pool.submit(make_report, order)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._pool = self._new_pool()
            raise ServiceUnavailableError(
                "The quality report ended before it was done, most likely because the images "
                "need more memory than there is. Crop them, or send fewer slices."
            ) from error
        finally:
            self._taken -= 1

    def refuse_when_full(self) -> None:
        if self._taken >= self._places:
            raise BusyError(
                f"{self._taken} quality reports are being made or wait. Ask again in a moment.",
                retry_after=USUAL_WAIT_S,
            )

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes, mp_context=get_context("spawn"), initializer=die_with_parent
        )


def make_report(order: ReportOrder) -> Path:
    """Read, measure, write. Runs in a process of the desk."""
    from micserve.qc import (
        About,
        RestorationCase,
        draw_pictures,
        evaluate_restoration,
        report_csv,
        report_html,
        report_json,
    )

    prediction = _read(order.prediction, "The prediction")
    target = _read(order.target, "The target")
    source = None if order.source is None else _read(order.source, "The source")
    um = target.calibration.in_um()
    case = RestorationCase(
        name=order.name,
        prediction=prediction.data,
        target=target.data,
        source=None if source is None else source.data,
        pixel_size_um=um["X"] if um else None,
    )
    report = evaluate_restoration([case])
    about = About(model=order.model, digest=order.digest, made_at=datetime.now(UTC))
    texts: dict[str, Callable[[], str]] = {
        "json": lambda: report_json(report, about=about).model_dump_json(indent=2),
        "csv": lambda: report_csv(report),
        "html": lambda: report_html(report, draw_pictures(report), about=about),
    }
    path = order.folder / f"report.{ENDINGS[order.format]}"
    if order.format != "application/zip":
        path.write_text(texts[ENDINGS[order.format]](), encoding="utf-8")
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for ending, text in texts.items():
            archive.writestr(f"report.{ending}", text())
        for method in (m.key for m in report.methods):
            if report.images[0].results[method].scale is None:
                continue
            maps = report.maps(order.name, method)
            for name, pixels in _map_names(method, Path(order.name).stem, maps.ssim, maps.error):
                file = order.folder / name
                write_tiff(target.with_data(pixels), file)
                archive.write(file, name)
                file.unlink()
    return path


def _read(source: bytes | Path, name: str) -> Image:
    """Without axes of length 1, which ImageJ drops when it saves."""
    image = read_image(source, name=name)
    kept = [a for a in image.axes if a in "YX" or image.size(a) > 1]
    where = tuple(i for i, a in enumerate(image.axes) if a not in kept)
    return image.with_data(image.data.squeeze(where), "".join(kept))


def _map_names(method: str, stem: str, ssim: Map, error: Map) -> Iterator[tuple[str, Map]]:
    """As the notebooks call them, so that people find what they know."""
    label = MAPS.get(method, method.capitalize())
    yield f"SSIM_GTvs{label}_{stem}.tif", ssim
    yield f"RSE_GTvs{label}_{stem}.tif", error
