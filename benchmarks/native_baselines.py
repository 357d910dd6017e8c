"""The float networks that native code is held against, each with its best chance: merged steps, folded norms, no graph.

All take x [T, N, C, H, W] and give logits [N, K]. Layers without memory take all steps at once, [T*N, C, H, W]; batch
norms are folded into the convolutions before them; everything runs in inference mode. They differ in the neuron (plain
torch, SpikingJelly, snnTorch), the memory format and the number format.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mdcompress.zoo import LIF
from mdcompress.zoo.networks import ConvNorm, per_step

CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels last"
IMAGE_CHANNELS = (1, 3)
FloatAnswer = Callable[[Tensor], Tensor]


class PerStep(nn.Module):
    """A layer without memory over all steps at once."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, ...] -> [T, N, ...]."""
        return per_step(self.layer, x)


class Stem(PerStep):
    """The same where every step shows the same image: once, as native code finds out by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, ...] -> [T, N, ...], all steps equal."""
        y: Tensor = self.layer(x[0])
        return y.expand(len(x), *y.shape)


class PlainLIF(nn.Module):
    """tau = 2, threshold 1, hard reset to 0, over [T, N, ...], in the fewest operations: two in place and a product."""

    def forward(self, x: Tensor) -> Tensor:
        """Currents to spikes."""
        spikes = _empty_steps(x)
        v = x[0].clone()
        for t in range(len(x)):
            if t:
                v.mul_(0.5).add_(x[t])
            torch.ge(v, 1.0, out=spikes[t])
            v.masked_fill_(spikes[t].bool(), 0.0)
        return spikes


def _empty_steps(x: Tensor) -> Tensor:
    """Room for spikes [T, N, ...], each step in the memory format of x's steps (x may be one step, repeated)."""
    step = x[0]
    is_last = step.dim() == 4 and step.is_contiguous(memory_format=torch.channels_last) and not step.is_contiguous()
    layout = torch.channels_last if is_last else torch.contiguous_format
    return torch.empty((len(x) * len(step), *step.shape[1:]), dtype=x.dtype, memory_format=layout).reshape(x.shape)


def _joined(steps: list[Tensor]) -> Tensor:
    """Steps [N, ...] as [T, N, ...] in their memory format, which torch.stack does not keep."""
    return torch.cat(steps).reshape(len(steps), *steps[0].shape)


class SnnTorchLIF(nn.Module):
    """snnTorch's Leaky, step by step, with the same equation."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.neuron = snntorch.Leaky(
            beta=0.5, threshold=1.0, reset_mechanism="zero", reset_delay=False, surrogate_disable=True
        )

    def forward(self, x: Tensor) -> Tensor:
        """Currents to spikes."""
        spikes, membrane = [], torch.zeros_like(x[0])
        for step in x:
            spike, membrane = self.neuron(step, membrane)
            spikes.append(spike)
        return _joined(spikes)


class SpikingJellyLIF(nn.Module):
    """SpikingJelly's LIFNode over all steps at once, its only way on a CPU; reset before each sequence."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based.neuron import LIFNode

        self.neuron = LIFNode(tau=2.0, decay_input=False, v_reset=0.0, step_mode="m", detach_reset=True)

    def forward(self, x: Tensor) -> Tensor:
        """Currents to spikes."""
        self.neuron.reset()
        spikes: Tensor = self.neuron(x)
        return spikes


def baselines(network: nn.Module) -> dict[str, FloatAnswer]:
    """Every float variant, by name. `network`: of the zoo, in evaluation mode; it is left as it is."""
    found: dict[str, FloatAnswer] = {}
    for name, neuron in {"torch": PlainLIF, "SpikingJelly": SpikingJellyLIF, "snnTorch": SnnTorchLIF}.items():
        prepared = _prepared(network, neuron)
        found[f"{name}, {CONTIGUOUS}"] = _inference(prepared)
        found[f"{name}, {CHANNELS_LAST}"] = _inference(_channels_last(copy.deepcopy(prepared)), channels_last=True)
    half = _channels_last(_prepared(network, PlainLIF)).to(torch.bfloat16)
    found[f"torch bfloat16, {CHANNELS_LAST}"] = _inference(half, dtype=torch.bfloat16, channels_last=True)
    half = _prepared(network, PlainLIF).to(torch.bfloat16)
    found[f"torch bfloat16, {CONTIGUOUS}"] = _inference(half, dtype=torch.bfloat16)
    return found


def compiled(network: nn.Module, *, dtype: torch.dtype = torch.float32) -> FloatAnswer:
    """torch.compile of the plain network, channels last: element-wise steps become one loop."""
    module = _channels_last(_prepared(network, CompilableLIF)).to(dtype)
    module.compile()
    return _inference(module, dtype=dtype, channels_last=True)


class CompilableLIF(nn.Module):
    """The same equation without operations in place, for torch.compile."""

    def forward(self, x: Tensor) -> Tensor:
        """Currents to spikes."""
        spikes: list[Tensor] = []
        v = torch.zeros_like(x[0])
        for step in x.unbind(0):
            v = 0.5 * v + step
            fired = v >= 1.0
            spikes.append(fired.to(x.dtype))
            v = torch.where(fired, 0.0, v)
        return _joined(spikes)


def _prepared(network: nn.Module, neuron: Callable[[], nn.Module]) -> nn.Module:
    """A copy with folded norms and other neurons."""
    own = copy.deepcopy(network).eval()
    for parent in list(own.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LIF):
                assert (child.decay, child.threshold, child.reset, child.reset_value) == (0.5, 1.0, "hard", 0.0)
                setattr(parent, name, neuron())
            elif isinstance(child, ConvNorm):
                kind = Stem if child.conv.in_channels in IMAGE_CHANNELS else PerStep
                setattr(parent, name, kind(fuse_conv_bn_eval(child.conv, child.norm)))
    return own


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)


def _inference(network: nn.Module, *, dtype: torch.dtype = torch.float32, channels_last: bool = False) -> FloatAnswer:
    def answer(x: Tensor) -> Tensor:
        with torch.inference_mode():
            if channels_last:
                x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).reshape(x.shape)
            logits: Tensor = network(x.to(dtype))
        return logits

    return answer
