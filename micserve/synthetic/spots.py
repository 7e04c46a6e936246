"""Blurred round spots on a slanted background, with the noise-free image and the truth beside it.

The algorithm is that of the ImageJ macro *Create Synthetic Spots* of Montpellier
Ressources Imagerie (https://github.com/MontpellierRessourcesImagerie/imagej_macros_and_scripts),
with its defaults; ours takes a seed, and keeps the image before the noise.

    fill with the background → filled ovals, large population first → Gaussian blur
        → noise, background and foreground apart → gradient, truncated
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from micserve.errors import ParameterError

Grey = NDArray[np.uint8] | NDArray[np.uint16]
Plane = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpotsRecipe:
    """How an image of spots is made; the defaults are those of the macro."""

    width: int = 1980
    """Pixels."""
    height: int = 1830
    """Pixels."""
    bits: int = 16
    """8 or 16, of the noisy and the clean image; grey values are cut off at the type's range."""
    background: int = 70
    """Grey value around the spots, before the gradient."""
    foreground: int = 120
    """Grey value of a spot before the blur; small spots end below it."""
    small_count: int = 100
    small_diameter: float = 10.0
    """Mean, pixels."""
    small_diameter_sd: float = 2.0
    """Pixels."""
    large_count: int = 300
    large_diameter: float = 30.0
    """Mean, pixels."""
    large_diameter_sd: float = 5.0
    """Pixels."""
    blur_sigma: float = 4.0
    """Of the Gaussian that stands for the microscope, pixels."""
    background_noise: float = 3.34
    """Standard deviation, grey values."""
    foreground_noise: float = 5.25
    """Standard deviation where the blurred image is above `background` + 1, grey values."""
    gradient: float = 1 / 200
    """Added per pixel of x + y, grey values."""
    touch_edges: bool = False
    """Whether a spot may be cut by the border."""

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise ParameterError(f"bits is {self.bits}; synthetic spots are 8 or 16 bit images.")
        if min(self.width, self.height) < 1:
            raise ParameterError(
                f"the image would have {self.width} × {self.height} pixels; give at least 1 × 1."
            )
        self._refuse_negative()
        self._refuse_out_of_range()

    @classmethod
    def slides(cls) -> "SpotsRecipe":
        """Images like those of the N2V slides: 800 × 800, 8 bit, SNR near 19.5 dB.

        Measured on the slides' three pairs: background 70, spots up to 180, gradient 1/200,
        noise of mean 0 and sd 8.46 on the background and 8.55 to 8.74 on the spots, rounded,
        never cut off (grey values 21 to 224).
        """
        return cls(
            width=800,
            height=800,
            bits=8,
            foreground=180,
            small_count=60,
            small_diameter=5.0,
            small_diameter_sd=2.0,
            large_count=60,
            large_diameter=16.0,
            large_diameter_sd=3.0,
            background_noise=8.46,
            foreground_noise=8.6,
        )

    @property
    def largest_grey(self) -> int:
        return int(2**self.bits - 1)

    def _refuse_negative(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < 0:
                raise ParameterError(f"{field.name} is {value}; give a number of at least 0.")

    def _refuse_out_of_range(self) -> None:
        for name in ("background", "foreground"):
            if getattr(self, name) > self.largest_grey:
                raise ParameterError(
                    f"{name} is {getattr(self, name)}, but {self.bits} bit images end at "
                    f"{self.largest_grey}."
                )
        for name in ("small", "large"):
            if getattr(self, f"{name}_count") and getattr(self, f"{name}_diameter") <= 0:
                raise ParameterError(f"{name}_diameter is 0; give a diameter in pixels.")


@dataclass(frozen=True, slots=True)
class Spot:
    """One drawn oval; lengths in pixels, areas in square pixels."""

    population: int
    """0 small, 1 large: the macro's *Class*."""
    label: int
    """Its grey value in that population's label image."""
    left: float
    """Of the oval's top left corner: the macro's *XC*."""
    top: float
    """The macro's *YC*."""
    diameter: float

    @property
    def centre_x(self) -> float:
        return self.left + self.diameter / 2

    @property
    def centre_y(self) -> float:
        return self.top + self.diameter / 2

    @property
    def area(self) -> float:
        return math.pi * (self.diameter / 2) ** 2

    def row(self) -> dict[str, float]:
        """With the columns of the macro's table."""
        return {
            "Class": self.population,
            "XC": self.left,
            "YC": self.top,
            "Diameter": self.diameter,
            "Radius": self.diameter / 2,
            "Area": self.area,
        }


@dataclass(frozen=True, slots=True, eq=False)
class SpotsImage:
    """What one recipe and seed give; every array is (Y, X)."""

    noisy: Grey
    """uint8 or uint16, as the recipe says."""
    clean: Grey
    """The same without noise: blurred, with the gradient."""
    small_labels: NDArray[np.uint16]
    """0 background, else the spot's label; smaller spots lie on top of larger ones."""
    large_labels: NDArray[np.uint16]
    spots: tuple[Spot, ...]
    """Small population first, each from the smallest to the largest."""
    recipe: SpotsRecipe
    seed: int

    def table(self) -> list[dict[str, float]]:
        """One row per spot: Class, XC, YC, Diameter, Radius, Area."""
        return [spot.row() for spot in self.spots]


def create_spots(recipe: SpotsRecipe, *, seed: int) -> SpotsImage:
    """One image of spots; the same recipe and seed give the same pixels."""
    random = np.random.default_rng(seed)
    small = _population(
        0, recipe.small_count, recipe.small_diameter, recipe.small_diameter_sd, recipe, random
    )
    large = _population(
        1, recipe.large_count, recipe.large_diameter, recipe.large_diameter_sd, recipe, random
    )
    shape = (recipe.height, recipe.width)
    sharp = np.full(shape, recipe.background, np.float64)
    for spot in (*reversed(large), *reversed(small)):
        _fill_oval(sharp, spot, recipe.foreground)
    blurred = np.rint(gaussian_filter(sharp, recipe.blur_sigma, mode="nearest"))
    return SpotsImage(
        noisy=_with_gradient(_with_noise(blurred, recipe, random), recipe),
        clean=_with_gradient(blurred, recipe),
        small_labels=_labels(small, shape),
        large_labels=_labels(large, shape),
        spots=(*small, *large),
        recipe=recipe,
        seed=seed,
    )


def spots_series(recipe: SpotsRecipe, *, count: int, seed: int) -> Iterator[SpotsImage]:
    """`count` different images; image k does not depend on how many are asked for."""
    for child in np.random.SeedSequence(seed).spawn(count):
        yield create_spots(recipe, seed=int(child.generate_state(1, np.uint64)[0]))


def _population(
    population: int,
    count: int,
    mean: float,
    sd: float,
    recipe: SpotsRecipe,
    random: np.random.Generator,
) -> list[Spot]:
    spots = []
    for label, diameter in enumerate(np.sort(_diameters(count, mean, sd, random)), start=1):
        left = _corner(diameter, recipe.width, recipe.touch_edges, random)
        top = _corner(diameter, recipe.height, recipe.touch_edges, random)
        spots.append(Spot(population, label, left, top, float(diameter)))
    return spots


def _diameters(
    count: int, mean: float, sd: float, random: np.random.Generator
) -> NDArray[np.float64]:
    diameters = random.normal(mean, sd, count)
    while (wrong := diameters <= 0).any():
        diameters[wrong] = random.normal(mean, sd, int(wrong.sum()))
    return diameters


def _corner(diameter: float, length: int, touch_edges: bool, random: np.random.Generator) -> float:
    if touch_edges:
        return float(random.uniform() * length)
    room = max(length - 3 * diameter, 0.0)
    return float(min(diameter, length / 3) + random.uniform() * room)


def _oval(spot: Spot, shape: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Where `spot` covers pixel centres, as a window of the image and a mask in it.

    Corner and diameter are truncated to whole pixels as ImageJ does, but to at
    least one pixel, so that every row of the table has its label.
    """
    diameter = max(int(spot.diameter), 1)
    top, left = int(spot.top), int(spot.left)
    window = (
        slice(top, min(top + diameter, shape[0])),
        slice(left, min(left + diameter, shape[1])),
    )
    offset = np.arange(diameter) + 0.5 - diameter / 2
    inside = np.add.outer(offset**2, offset**2) <= (diameter / 2) ** 2
    return window, inside[: window[0].stop - top, : window[1].stop - left]


def _fill_oval(image: Plane | NDArray[np.uint16], spot: Spot, grey: int) -> None:
    window, inside = _oval(spot, (image.shape[0], image.shape[1]))
    image[window][inside] = grey


def _labels(spots: list[Spot], shape: tuple[int, int]) -> NDArray[np.uint16]:
    labels = np.zeros(shape, np.uint16)
    for spot in reversed(spots):
        _fill_oval(labels, spot, spot.label)
    return labels


def _with_noise(blurred: Plane, recipe: SpotsRecipe, random: np.random.Generator) -> Plane:
    """Rounded Gaussian noise, redrawn where it leaves the range of the type (as ImageJ does)."""
    sd = np.where(
        blurred <= recipe.background + 1, recipe.background_noise, recipe.foreground_noise
    )
    noisy = np.rint(blurred + random.normal(0.0, sd))
    while (wrong := (noisy < 0) | (noisy > recipe.largest_grey)).any():
        noisy[wrong] = np.rint(blurred[wrong] + random.normal(0.0, sd[wrong]))
    return noisy


def _with_gradient(image: Plane, recipe: SpotsRecipe) -> Grey:
    """Add the slant and truncate, as ImageJ writes into whole grey values."""
    slant = np.add.outer(np.arange(recipe.height), np.arange(recipe.width)) * recipe.gradient
    slanted = np.minimum(np.floor(image + slant), recipe.largest_grey)
    return slanted.astype(np.uint8) if recipe.bits == 8 else slanted.astype(np.uint16)
