"""What fnet is to the shared flow. torch is imported only when a network is built."""

from collections.abc import Mapping, Sequence

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName
from micserve.predict import LoadedModel
from training.common.config import Preset
from training.common.images import Dataset
from training.common.judging import Shown
from training.common.judging_restoration import Restored, restored
from training.common.learner import Learner, Plan
from training.common.machine import version_of
from training.common.pairs import PairedDataset, folders_of, grey_target, load_pairs
from training.fnet.config import PRESETS, FnetConfig
from training.torch_loop.config import plan_of

OTHER_MODALITY = (
    "The input was recorded in another way than the ground truth. It is compared after the gain "
    "and offset that fit it best, as the least that a prediction has to beat; its SNR, PSNR, RMSE "
    "and MAE, which take grey values as they are, say nothing. Plain filters are left out."
)


class FnetTrainer:
    """fnet, 2D or 3D."""

    family: FamilyName = "fnet"
    config = FnetConfig
    restore_range = False
    citations: Sequence[Citation] = (
        Citation(
            text="Ounkomol, C. et al. Label-free prediction of three-dimensional fluorescence "
            "images from transmitted-light microscopy. Nature Methods 15, 917–920 (2018).",
            doi="10.1038/s41592-018-0111-2",
        ),
        Citation(
            text="von Chamier, L. et al. Democratising deep learning for microscopy with "
            "ZeroCostDL4Mic. Nature Communications 12, 2276 (2021).",
            doi="10.1038/s41467-021-22518-0",
        ),
    )

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.title = f"fnet {ndim}D"
        self.presets: Mapping[str, Preset] = PRESETS[ndim]

    def data(self, config: FnetConfig) -> PairedDataset:
        return load_pairs(
            *folders_of(config.data, config.target),
            check=grey_target,
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

    def reach(self, config: FnetConfig) -> int:
        return config.reach

    def multiple(self, config: FnetConfig) -> int:
        return config.stride

    def plan(self, config: FnetConfig, data: Dataset) -> Plan:
        return plan_of(config, data, ndim=self.ndim)

    def learner(self, config: FnetConfig, plan: Plan, data: Dataset) -> Learner:
        from training.fnet.fluorescence import BETAS, Fluorescence
        from training.torch_loop.learner import TorchLearner

        assert isinstance(data, PairedDataset)
        return TorchLearner(Fluorescence(config, plan, data), config, plan, betas=BETAS)

    def versions(self) -> Mapping[str, str]:
        return {"torch": version_of("torch")}

    def judge(self, model: LoadedModel, frames: Sequence[Shown], data: PairedDataset) -> Restored:
        """Beside the input alone: a smoothed transmitted light image is no guess of a stain."""
        return restored(model, frames, baselines=(), notes=(OTHER_MODALITY,))

    def method(self, config: FnetConfig) -> str:
        norm = "with" if config.batch_norm else "without"
        return (
            f"The U-Net (depth {config.pooling_steps}, {config.first_filters} filters in the first "
            f"level, {norm} batch normalisation, strided convolutions) learnt with Adam (betas 0.5 "
            f"and 0.999, learning rate {config.initial_learning_rate:g}, "
            f"{config.learning_rate_schedule}) and the mean squared error to predict the target "
            "from the image, both with mean 0 and standard deviation 1 per image. Its answer is "
            "given with the mean and standard deviation of the training targets."
        )
