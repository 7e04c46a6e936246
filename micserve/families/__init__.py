"""The model families that this server knows."""

from collections.abc import Mapping
from types import MappingProxyType

from micserve.families.base import Family, OutputKind, PredictParameters
from micserve.families.care import Care
from micserve.families.fnet import Fnet
from micserve.families.n2v import Noise2Void
from micserve.families.stardist import StarDist
from micserve.families.unet import UNet

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (Noise2Void(), Care(), StarDist(), UNet(), Fnet())}
)

__all__ = ["FAMILIES", "Family", "OutputKind", "PredictParameters"]
