"""What U-Net is to the shared flow. torch is imported only when a network is built."""

from collections.abc import Mapping, Sequence

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName
from micserve.predict import LoadedModel
from training.common.config import Preset
from training.common.images import Dataset
from training.common.judging import Shown
from training.common.judging_segmentation import Segmented
from training.common.learner import Learner, Plan
from training.common.machine import version_of
from training.common.pairs import PairedDataset, class_mask, folders_of, load_pairs
from training.torch_loop.config import plan_of
from training.unet.classes import classes_of
from training.unet.config import PRESETS, UNetConfig
from training.unet.judging import judged


class UNetTrainer:
    """U-Net, 2D or 3D."""

    family: FamilyName = "unet"
    config = UNetConfig
    restore_range = False
    citations: Sequence[Citation] = (
        Citation(
            text="Falk, T. et al. U-Net: deep learning for cell counting, detection, and "
            "morphometry. Nature Methods 16, 67–70 (2019).",
            doi="10.1038/s41592-018-0261-2",
        ),
        Citation(
            text="Ronneberger, O., Fischer, P. & Brox, T. U-Net: convolutional networks for "
            "biomedical image segmentation. MICCAI 2015.",
            doi="10.1007/978-3-319-24574-4_28",
        ),
        Citation(
            text="von Chamier, L. et al. Democratising deep learning for microscopy with "
            "ZeroCostDL4Mic. Nature Communications 12, 2276 (2021).",
            doi="10.1038/s41467-021-22518-0",
        ),
    )

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.title = f"U-Net {ndim}D"
        self.presets: Mapping[str, Preset] = PRESETS[ndim]

    def data(self, config: UNetConfig) -> PairedDataset:
        data = load_pairs(
            *folders_of(config.data, config.target),
            check=class_mask,
            ndim=self.ndim,
            channel=config.channel,
            target_channel=config.target_channel,
            percentage_validation=config.percentage_validation,
            seed=config.seed,
            patch=config.side(self.ndim),
            gap=config.reach,
            multiple=config.stride,
            pixel_size_um=config.pixel_size_um,
        )
        # Masks that hold no classes are refused before anything is recorded.
        classes_of((*data.train, *data.validation), config.mask_type)
        return data

    def reach(self, config: UNetConfig) -> int:
        return config.reach

    def multiple(self, config: UNetConfig) -> int:
        return config.stride

    def plan(self, config: UNetConfig, data: Dataset) -> Plan:
        return plan_of(config, data, ndim=self.ndim)

    def learner(self, config: UNetConfig, plan: Plan, data: Dataset) -> Learner:
        from training.torch_loop.learner import TorchLearner
        from training.torch_loop.patches import Warp
        from training.unet.segmentation import Segmentation

        assert isinstance(data, PairedDataset)
        return TorchLearner(
            Segmentation(config, plan, data),
            config,
            plan,
            warp=Warp(
                rotation_deg=config.rotation_range,
                zoom=config.zoom_range / 100,
                shear_deg=config.shear_range,
                shift_x=config.horizontal_shift / 100,
                shift_y=config.vertical_shift / 100,
            ),
        )

    def versions(self) -> Mapping[str, str]:
        return {"torch": version_of("torch")}

    def judge(self, model: LoadedModel, frames: Sequence[Shown], data: PairedDataset) -> Segmented:
        """Classes; with two, at a threshold from other images than each is scored on."""
        return judged(model, frames, data)

    def method(self, config: UNetConfig) -> str:
        norm = "with" if config.batch_norm else "without"
        weighted = (
            ", pixels weighted by how rare their class is,"
            if config.class_weights == "balanced"
            else ""
        )
        loss = config.loss.replace("dice_cross_entropy", "Dice and cross entropy").replace("_", " ")
        return (
            f"The U-Net (depth {config.pooling_steps}, {config.first_filters} filters in the first "
            f"level, {norm} batch normalisation) learnt with Adam (learning rate "
            f"{config.initial_learning_rate:g}, {config.learning_rate_schedule}) and the loss "
            f"{loss}{weighted} to tell the classes of the masks apart in patches of images that "
            "were scaled between their percentiles 1 and 99.8. The threshold of a binary network "
            "is the one with the best overlap on the validation images."
        )
