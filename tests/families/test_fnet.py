"""fnet as it is served: another stain's grey values, not those of the image sent."""

import numpy as np

from micserve.artifact.contract import Head, ModelContract, Network, Tiling
from micserve.families.base import RestorationParameters
from micserve.image import Display, Image
from micserve.normalize import ZeroMeanUnitVariance
from micserve.predict import LoadedModel, predict


class Stains:
    """A network that answers 1000 + 50 times what it sees."""

    heads = ("fluorescence",)
    device = "CPU"

    def run(self, batch):
        return {"fluorescence": batch * 50 + 1000}


def model(ndim: int) -> LoadedModel:
    contract = ModelContract(
        name="stain",
        family="fnet",
        ndim=ndim,
        network=Network(
            heads=(Head(name="fluorescence", stride=(1,) * ndim),),
            tiling=Tiling(halo=(0,) * ndim, multiple=(2,) * ndim),
        ),
        normalization=ZeroMeanUnitVariance(),
    )
    return LoadedModel(contract, Stains())


def test_the_answer_has_the_grey_values_of_the_training_targets():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 21, 30)).astype(np.uint8)
    for ndim in (2, 3):
        image = Image(pixels, "ZYX", display=Display(ranges=((0, 255),)))
        result = predict(image, model(ndim), RestorationParameters(), max_tile_pixels=200).image
        assert result.data.dtype == np.float32
        assert result.axes == "ZYX"
        np.testing.assert_allclose(result.data.mean(), 1000, atol=0.5)
        low, high = result.display.ranges[0]
        assert low == result.data.min()
        assert high == result.data.max()


def test_it_can_be_rounded_to_16_bit():
    image = Image(np.eye(16, dtype=np.uint16), "YX")
    asked = RestorationParameters(output_dtype="uint16")
    assert predict(image, model(2), asked).image.data.dtype == np.uint16
