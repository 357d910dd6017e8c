"""One layer as an integer graph, driven at any rate: what `native_speed` sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.graph import (
    IntConv,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntNode,
    IntReadout,
    IntRequant,
)

WEIGHT_BITS, MEMBRANE_BITS = 4, 4
CLASSES = 10
TIME_STEPS = 4


@dataclass(frozen=True)
class Layer:
    """A convolution 3x3 of so many channels on a square map, or a linear layer (side 0)."""

    inputs: int
    outputs: int
    side: int = 0

    @property
    def name(self) -> str:
        """`128->128, 16x16`."""
        place = f"{self.side}x{self.side}" if self.side else "linear"
        return f"{self.inputs}->{self.outputs}, {place}"

    def additions(self, x: IntArray) -> int:
        """Weights added for binary x [T, N, *shape], padding left out."""
        if not self.side:
            return int(x.sum()) * self.outputs
        reached = np.full(self.side, 3)
        reached[[0, -1]] = 2  # a window's place is lost at each border
        return int((x * np.outer(reached, reached)).sum()) * self.outputs


LAYERS = (Layer(128, 128, 16), Layer(64, 64, 32), Layer(256, 256, 8), Layer(4096, 1024))


def layer_graph(layer: Layer, *, seed: int = 0) -> IntGraph:
    """Binary input -> the layer -> requant -> neuron -> linear -> readout.

    The neuron's threshold is out of reach, so that what follows the layer costs the same at every rate.
    """
    rng = np.random.default_rng(seed)
    shape = (layer.inputs, layer.side, layer.side) if layer.side else (layer.inputs,)
    written = (layer.outputs, *shape[1:])
    nodes: tuple[IntNode, ...] = (
        IntInput("x", (), shape, 1, False, 1.0),
        _synapse(layer, rng),
        IntRequant("current", ("layer",), written, np.array([1]), np.array([0]), 8, 1.0),
        _silent_neuron(written),
        IntFlatten("flat", ("neuron",), (int(np.prod(written)),)),
        IntLinear("head", ("flat",), (CLASSES,), _weights(rng, (CLASSES, int(np.prod(written)))), WEIGHT_BITS),
        IntReadout("readout", ("head",), (CLASSES,), "sum", 1.0),
    )
    return IntGraph(nodes)


def driven(layer: Layer, rate: float, *, samples: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Binary input [4, samples, *shape], each place 1 with the probability `rate`."""
    shape = (layer.inputs, layer.side, layer.side) if layer.side else (layer.inputs,)
    drawn = np.random.default_rng(seed).random((TIME_STEPS, samples, *shape)) < rate
    return drawn.astype(np.uint8)


def _synapse(layer: Layer, rng: np.random.Generator) -> IntConv | IntLinear:
    if not layer.side:
        weight = _weights(rng, (layer.outputs, layer.inputs))
        return IntLinear("layer", ("x",), (layer.outputs,), weight, WEIGHT_BITS)
    weight = _weights(rng, (layer.outputs, layer.inputs, 3, 3))
    shape, ones = (layer.outputs, layer.side, layer.side), (1, 1)
    return IntConv("layer", ("x",), shape, weight, WEIGHT_BITS, ones, ones, ones, 1)


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> IntArray:
    return rng.integers(-7, 8, shape)


def _silent_neuron(shape: tuple[int, ...]) -> IntNeuron:
    return IntNeuron(
        "neuron", ("current",), shape, leak=np.array([1]), drive=np.array([0]), threshold=np.array([10_000]),
        reset="hard", reset_value=np.array([0]), soft_amount=np.array([0]), guard_bits=1, bit_width=MEMBRANE_BITS,
        initial=0, scale=1.0,
    )  # fmt: skip
