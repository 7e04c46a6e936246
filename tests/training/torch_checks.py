"""Run by `test_torch_loop.py` in torch's environment: measures, and prints them as JSON."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
import torch

from training.common.config import assemble
from training.torch_loop.patches import Warp, turned_at_random, warped_at_random
from training.unet.segmentation import cross_entropy, dice_loss
from training.unet.trainer import UNetTrainer

TINY = {
    "preset": "quick",
    "number_of_epochs": 4,
    "number_of_steps": 3,
    "patch_size": 32,
    "batch_size": 2,
    "first_filters": 4,
    "rotation_range": 30,
    "dropout": 0.3,
    "weights": "last",
}


def silent(step: int, loss: float) -> None: ...


def learner(folder: Path):
    trainer = UNetTrainer(2)
    flags = {"data": folder, "name": "check", **TINY}
    config = assemble(trainer.config, trainer.presets, flags=flags).config
    data = trainer.data(config)
    return trainer.learner(config, trainer.plan(config, data), data)


def epochs(one, numbers, losses):
    for number in numbers:
        one.train_epoch(number, validation_losses=losses, on_step=silent)
        losses.append(one.validate()["val_loss"])


def resumed_difference() -> float:
    """Between the weights of four epochs, and of two and two with a checkpoint between."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("images", "masks"):
            (folder / name).mkdir()
        for number in range(3):
            inside = random.random((64, 64)) > 0.7
            grey = (1000 + 600 * inside + random.normal(0, 80, inside.shape)).astype(np.uint16)
            tifffile.imwrite(folder / "images" / f"{number}.tif", grey)
            tifffile.imwrite(folder / "masks" / f"{number}.tif", inside.astype(np.uint8))
        whole, first, second = (learner(folder) for _ in range(3))
        epochs(whole, range(4), [])
        losses: list[float] = []
        epochs(first, range(2), losses)
        second.load_weights(first.weights())
        second.load_state(first.state())
        epochs(second, range(2, 4), losses)
        theirs = second.weights()
        return max(float(np.abs(a - theirs[name]).max()) for name, a in whole.weights().items())


def unmoved_warp_difference() -> float:
    random = np.random.default_rng(0)
    pixels = random.random((2, 1, 4, 32, 48)).astype(np.float32)
    moved, _ = warped_at_random((pixels, pixels), Warp(), random, smooth_targets=False)
    return float(np.abs(moved - pixels).max())


def turned_apart() -> float:
    """How far target and image are from each other after augmentation that treats both alike."""
    random = np.random.default_rng(0)
    pixels = random.random((8, 1, 4, 16, 16)).astype(np.float32)
    turned, targets = turned_at_random((pixels, pixels * 2), random)
    same = float(np.abs(turned * 2 - targets).max())
    return same if np.abs(turned - pixels).max() > 0 else float("inf")


def warped_classes() -> list[float]:
    """Values of a mask after a warp."""
    random = np.random.default_rng(0)
    mask = random.integers(0, 3, (2, 1, 32, 32)).astype(np.float32)
    warp = Warp(rotation_deg=45, zoom=0.2, shear_deg=10, shift_x=0.1, shift_y=0.2)
    _, warped = warped_at_random((mask, mask), warp, random, smooth_targets=False)
    return np.unique(warped).tolist()


def losses() -> dict[str, float]:
    truth = torch.zeros((1, 1, 8, 8))
    truth[..., :4] = 1
    right = (truth * 2 - 1) * 20
    classes = torch.cat([1 - truth, truth], dim=1) * 40
    return {
        "dice of the truth": float(dice_loss(right, truth)),
        "dice of its opposite": float(dice_loss(-right, truth)),
        "dice of two classes": float(dice_loss(classes, truth)),
        "cross entropy of the truth": float(cross_entropy(right, truth, None)),
        "cross entropy, two ways to say two classes": float(
            cross_entropy(torch.cat([-right, right], 1) / 20, truth, None)
            - cross_entropy(right / 10, truth, None)
        ),
    }


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(
            {
                "resumed": resumed_difference(),
                "unmoved": unmoved_warp_difference(),
                "turned apart": turned_apart(),
                "warped classes": warped_classes(),
                **losses(),
            }
        )
    )
