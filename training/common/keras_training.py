"""A Keras network as the shared loop wants it: one step, its weights and its optimiser as arrays.

Works with Keras 2 and 3 on TensorFlow; knows no family and no data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from micserve.errors import ParameterError
from training.common.learner import Arrays

Float = NDArray[np.float32]

Loss = Callable[[Any, Any], Any]
"""(target, answer) to one number per pixel or fewer, as tensors."""


class KerasNetwork:
    """A network, its loss and Adam. Arrays are channels last: (B, (Z,) Y, X, C)."""

    def __init__(self, model: Any, loss: Loss) -> None:
        self.model = model
        self._loss = loss
        self._optimizer = tf.keras.optimizers.Adam(1e-3)
        self._optimizer.build(model.trainable_variables)
        size = [None] * (len(model.input.shape) - 1)
        channels = int(model.input.shape[-1])
        source = tf.TensorSpec((*size, channels), tf.float32)
        target = tf.TensorSpec((*size, None), tf.float32)
        self._step = tf.function(self._one_step, input_signature=[source, target], autograph=False)
        self._test = tf.function(self._tested, input_signature=[source, target], autograph=False)
        self._run = tf.function(self._answer, input_signature=[source], autograph=False)

    @property
    def device(self) -> str:
        """What it runs on, in words."""
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return "the CPU (TensorFlow sees no GPU)"
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"the GPU {details.get('device_name', gpus[0].name)}"

    def step(self, source: Float, target: Float, *, rate: float) -> float:
        """One step of Adam; the batch's loss before it."""
        self._optimizer.learning_rate.assign(rate)
        return float(self._step(source, target))

    def loss(self, source: Float, target: Float) -> float:
        return float(self._test(source, target))

    def run(self, source: Float) -> Float:
        answer: Float = self._run(source).numpy()
        return answer

    def weights(self) -> Arrays:
        return numbered(self.model.get_weights())

    def load_weights(self, arrays: Arrays) -> None:
        """Raises ParameterError when they are another network's."""
        stored, own = ordered(arrays), self.model.get_weights()
        if [a.shape for a in stored] != [a.shape for a in own]:
            raise ParameterError(
                "These weights are of a network of another shape: train with the same "
                "unet_n_depth, unet_n_first, unet_kern_size and outputs, or start from none."
            )
        self.model.set_weights(stored)

    def state(self) -> Arrays:
        return numbered([variable.numpy() for variable in self._variables])

    def load_state(self, arrays: Arrays) -> None:
        for variable, value in zip(self._variables, ordered(arrays), strict=True):
            variable.assign(value)

    @property
    def _variables(self) -> Sequence[Any]:
        variables: Any = self._optimizer.variables
        return list(variables() if callable(variables) else variables)

    def _one_step(self, source: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._loss(target, self.model(source, training=True)))
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def _tested(self, source: Any, target: Any) -> Any:
        return tf.reduce_mean(self._loss(target, self.model(source, training=False)))

    def _answer(self, source: Any) -> Any:
        return self.model(source, training=False)


def numbered(arrays: Sequence[NDArray[Any]]) -> Arrays:
    return {f"{number:04d}": np.asarray(array) for number, array in enumerate(arrays)}


def ordered(arrays: Arrays) -> list[NDArray[Any]]:
    return [arrays[name] for name in sorted(arrays)]
