"""What Noise2Void is to the shared flow. TensorFlow is imported only when a network is built."""

from collections.abc import Mapping, Sequence

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName
from training.common.config import Preset
from training.common.images import Dataset, load_dataset
from training.common.learner import Learner, Plan
from training.common.machine import version_of
from training.common.patch_plan import DEFAULT_PATCH, patch_size
from training.n2v.config import PRESETS, N2VConfig


class Noise2VoidTrainer:
    """Noise2Void, 2D or 3D."""

    family: FamilyName = "n2v"
    config = N2VConfig
    restore_range = True
    citations: Sequence[Citation] = (
        Citation(
            text="Krull, A., Buchholz, T.-O. & Jug, F. Noise2Void: learning denoising from single "
            "noisy images. CVPR 2019.",
            url="https://arxiv.org/abs/1811.10980",
        ),
        Citation(
            text="von Chamier, L. et al. Democratising deep learning for microscopy with "
            "ZeroCostDL4Mic. Nature Communications 12, 2276 (2021).",
            doi="10.1038/s41467-021-22518-0",
        ),
    )

    def __init__(self, ndim: int = 2) -> None:
        self.ndim = ndim
        self.title = f"Noise2Void {ndim}D"
        self.presets: Mapping[str, Preset] = PRESETS[ndim]

    def data(self, config: N2VConfig) -> Dataset:
        return load_dataset(
            config.data,
            ndim=self.ndim,
            channel=config.channel,
            percentage_validation=config.percentage_validation,
            seed=config.seed,
            patch=DEFAULT_PATCH if config.patch_size == "auto" else config.patch_size,
            gap=config.reach,
            multiple=config.stride,
            pixel_size_um=config.pixel_size_um,
        )

    def reach(self, config: N2VConfig) -> int:
        return config.reach

    def multiple(self, config: N2VConfig) -> int:
        return config.stride

    def plan(self, config: N2VConfig, data: Dataset) -> Plan:
        """Resolve `auto`, and say what could not be as it was asked."""
        from training.n2v.patches import patch_count  # needs the n2v package

        size, notes = patch_size(config, data.smallest)
        steps = config.number_of_steps
        if steps == "auto":
            patches = patch_count(data.train, size=size, augmented=config.use_data_augmentation)
            steps = patches // config.batch_size + 1
            if config.auto_steps_limit is not None:
                steps = min(steps, config.auto_steps_limit)
        return Plan(config.number_of_epochs, steps, size, notes)

    def learner(self, config: N2VConfig, plan: Plan, data: Dataset) -> Learner:
        from training.n2v.network import Noise2VoidLearner

        return Noise2VoidLearner(config, plan, data)

    def versions(self) -> Mapping[str, str]:
        names = ("tensorflow-cpu", "tensorflow", "n2v", "csbdeep")
        found = {name: version_of(name) for name in names}
        return {name: number for name, number in found.items() if number != "not installed"}

    def method(self, config: N2VConfig) -> str:
        norm = "with" if config.batch_norm else "without"
        return (
            f"The U-Net (depth {config.unet_n_depth}, {config.unet_n_first} filters in the first "
            f"level, kernel {config.unet_kern_size}, {norm} batch normalisation) learnt with Adam "
            f"(learning rate {config.initial_learning_rate:g}, {config.learning_rate_schedule}) "
            f"and the loss {config.train_loss} to predict {config.n2v_perc_pix:g} % of the pixels, "
            f"hidden by {config.n2v_manipulator} within {config.n2v_neighborhood_radius} pixels, "
            "from their surroundings; no clean images were used."
        )
