"""What StarDist is to the shared flow. TensorFlow is imported only when a network is built."""

from collections.abc import Mapping, Sequence

import numpy as np

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName
from micserve.predict import LoadedModel
from training.common.config import Preset
from training.common.images import Dataset
from training.common.judging import Shown, answers
from training.common.judging_segmentation import Segmented, segmentation_case
from training.common.learner import Learner, Plan
from training.common.machine import version_of
from training.common.pairs import PairedDataset, folders_of, instance_labels, load_pairs
from training.stardist.config import PRESETS, StarDistConfig
from training.stardist.patch_plan import patch_size, wished


class StarDistTrainer:
    """StarDist, 2D or 3D."""

    family: FamilyName = "stardist"
    config = StarDistConfig
    restore_range = False

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        self.title = f"StarDist {ndim}D"
        self.presets: Mapping[str, Preset] = PRESETS[ndim]
        self.citations: Sequence[Citation] = (PAPERS[ndim], NOTEBOOKS)

    def data(self, config: StarDistConfig) -> PairedDataset:
        return load_pairs(
            *folders_of(config.data, config.target),
            check=instance_labels,
            ndim=self.ndim,
            channel=config.channel,
            target_channel=config.target_channel,
            channels=config.channels,
            percentage_validation=config.percentage_validation,
            seed=config.seed,
            patch=wished(config, self.ndim)[-1],
            gap=config.reach,
            multiple=config.stride,
            pixel_size_um=config.pixel_size_um,
        )

    def reach(self, config: StarDistConfig) -> int:
        return config.reach

    def multiple(self, config: StarDistConfig) -> int:
        return config.stride

    def plan(self, config: StarDistConfig, data: Dataset) -> Plan:
        """Measure the objects, resolve `auto`, and say what could not be as it was asked."""
        from training.stardist.geometry import measure

        assert isinstance(data, PairedDataset)
        geometry = measure(data.train, config)
        size, notes = patch_size(config, data.smallest, geometry.grid)
        steps = config.number_of_steps
        if steps == "auto":
            patches = sum(int(np.prod(plane.size)) / int(np.prod(size)) for plane in data.train)
            shown = patches * config.multiply_dataset_by
            steps = int(shown) // config.batch_size + 1
            if config.auto_steps_limit is not None:
                steps = min(steps, config.auto_steps_limit)
        return Plan(config.number_of_epochs, steps, size, (geometry.sentence, *notes))

    def learner(self, config: StarDistConfig, plan: Plan, data: Dataset) -> Learner:
        from training.stardist.network import StarDistLearner

        assert isinstance(data, PairedDataset)
        return StarDistLearner(config, plan, data)

    def versions(self) -> Mapping[str, str]:
        names = ("tensorflow-cpu", "tensorflow", "keras", "csbdeep", "stardist")
        found = {name: version_of(name) for name in names}
        return {name: number for name, number in found.items() if number != "not installed"}

    def judge(self, model: LoadedModel, frames: Sequence[Shown], data: PairedDataset) -> Segmented:
        """Objects, by the version's own thresholds."""
        found = answers(model, frames, model.family.parameters())
        return Segmented(
            cases=tuple(map(segmentation_case, frames, found)),
            numbers="objects",
            notes=(
                "The thresholds of probability and overlap were chosen on these images too, which "
                "flatters the result a little.",
            ),
        )

    def method(self, config: StarDistConfig) -> str:
        colour = " colour" if config.rgb else ""
        return (
            f"The U-Net (depth {config.unet_n_depth}, {config.unet_n_first} filters in the first "
            f"level, kernel {config.unet_kern_size}) learnt with Adam (learning rate "
            f"{config.initial_learning_rate:g}, {config.learning_rate_schedule}) to predict the "
            f"object probability (cross entropy) and the distances to the border along "
            f"{config.n_rays} rays ({config.train_dist_loss}, weight "
            f"{config.dist_loss_weight:g}) from{colour} images that were scaled between their "
            "percentiles 1 and 99.8. The thresholds of probability and overlap are those with the "
            "best mean AP at IoU 0.3, 0.5 and 0.7 on the validation images."
        )


PAPERS: Mapping[int, Citation] = {
    2: Citation(
        text="Schmidt, U. et al. Cell detection with star-convex polygons. MICCAI 2018.",
        doi="10.1007/978-3-030-00934-2_30",
    ),
    3: Citation(
        text="Weigert, M. et al. Star-convex polyhedra for 3D object detection and segmentation "
        "in microscopy. WACV 2020.",
        doi="10.1109/WACV45572.2020.9093435",
    ),
}

NOTEBOOKS = Citation(
    text="von Chamier, L. et al. Democratising deep learning for microscopy with "
    "ZeroCostDL4Mic. Nature Communications 12, 2276 (2021).",
    doi="10.1038/s41467-021-22518-0",
)
