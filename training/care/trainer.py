"""What CARE is to the shared flow. TensorFlow is imported only when a network is built."""

from collections.abc import Mapping, Sequence

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName
from micserve.predict import LoadedModel
from micserve.qc.baselines import BASELINES
from training.care.config import PRESETS, CareConfig
from training.common.config import Preset
from training.common.images import Dataset
from training.common.judging import Shown
from training.common.judging_restoration import Restored, restored
from training.common.learner import Learner, Plan
from training.common.machine import version_of
from training.common.pairs import PairedDataset, folders_of, grey_target, load_pairs
from training.common.patch_plan import DEFAULT_PATCH, patch_size


class CareTrainer:
    """CARE, 2D or 3D."""

    family: FamilyName = "care"
    config = CareConfig
    restore_range = True
    citations: Sequence[Citation] = (
        Citation(
            text="Weigert, M. et al. Content-aware image restoration: pushing the limits of "
            "fluorescence microscopy. Nature Methods 15, 1090–1097 (2018).",
            doi="10.1038/s41592-018-0216-7",
        ),
        Citation(
            text="von Chamier, L. et al. Democratising deep learning for microscopy with "
            "ZeroCostDL4Mic. Nature Communications 12, 2276 (2021).",
            doi="10.1038/s41467-021-22518-0",
        ),
    )

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.title = f"CARE {ndim}D"
        self.presets: Mapping[str, Preset] = PRESETS[ndim]

    def data(self, config: CareConfig) -> PairedDataset:
        return load_pairs(
            *folders_of(config.data, config.target),
            check=grey_target,
            ndim=self.ndim,
            channel=config.channel,
            target_channel=config.target_channel,
            percentage_validation=config.percentage_validation,
            seed=config.seed,
            patch=DEFAULT_PATCH if config.patch_size == "auto" else config.patch_size,
            gap=config.reach,
            multiple=config.stride,
            pixel_size_um=config.pixel_size_um,
        )

    def reach(self, config: CareConfig) -> int:
        return config.reach

    def multiple(self, config: CareConfig) -> int:
        return config.stride

    def plan(self, config: CareConfig, data: Dataset) -> Plan:
        """Resolve `auto`, and say what could not be as it was asked."""
        size, notes = patch_size(config, data.smallest)
        steps = config.number_of_steps
        if steps == "auto":
            steps = config.number_of_patches * len(data.train) // config.batch_size + 1
            if config.auto_steps_limit is not None:
                steps = min(steps, config.auto_steps_limit)
        return Plan(config.number_of_epochs, steps, size, notes)

    def learner(self, config: CareConfig, plan: Plan, data: Dataset) -> Learner:
        from training.care.network import CareLearner

        assert isinstance(data, PairedDataset)
        return CareLearner(config, plan, data)

    def versions(self) -> Mapping[str, str]:
        names = ("tensorflow-cpu", "tensorflow", "keras", "csbdeep")
        found = {name: version_of(name) for name in names}
        return {name: number for name, number in found.items() if number != "not installed"}

    def judge(self, model: LoadedModel, frames: Sequence[Shown], data: PairedDataset) -> Restored:
        """Beside the input and every plain filter."""
        return restored(model, frames, baselines=BASELINES)

    def method(self, config: CareConfig) -> str:
        learnt = (
            "the likelihood of a Laplace distribution per pixel"
            if config.probabilistic
            else f"the loss {config.loss}"
        )
        answer = "the difference between the images" if config.unet_residual else "the clean image"
        return (
            f"The U-Net (depth {config.unet_n_depth}, {config.unet_n_first} filters in the first "
            f"level, kernel {config.unet_kern_size}) learnt with Adam (learning rate "
            f"{config.initial_learning_rate:g}, {config.learning_rate_schedule}) and {learnt} to "
            f"predict {answer} from patches that were normalised by percentiles of their image."
        )
