"""Extreme networks, data and recipes: each is exact on every value, or refused in clear words; a Markdown page.

    python -m benchmarks extremes > docs/results/extremes.md

A small convolutional network is changed in one way a row, compressed, lowered, and run by all witnesses: student,
interpreter, onnxruntime and native code. Inputs are those of calibration, five times larger ones, and zeros.
Exit code 1: a row differs, or ends in another error than one of this project's.
"""

from __future__ import annotations

import math
import platform
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnxruntime
import torch
from torch import Tensor, nn

from intsnn.errors import IntsnnError
from mdcompress.compression import compress
from mdcompress.evaluation.verification import verify
from mdcompress.recipe import Recipe
from mdcompress.zoo import IF, LIF, digits_snn

Change = Callable[[nn.Module], None]
SEED = 0
DENORMAL = 1e-40  # below 2^-126, the least normal float32


def make_input(*, time_steps: int = 4, samples: int = 6) -> Tensor:
    """Images in [0, 1], other ones at each step: [T, N, 1, 8, 8]."""
    return torch.rand(time_steps, samples, 1, 8, 8, generator=torch.Generator().manual_seed(SEED))


def nothing(_: nn.Module) -> None:
    """The network as it is."""


def each_weight(change: Callable[[Tensor], object], *, first: bool = False) -> Change:
    """Change the weights of all convolutions and linear layers in place, or of the first one alone."""

    def changed(network: nn.Module) -> None:
        layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        for layer in layers[:1] if first else layers:
            change(layer.weight)

    return changed


def one_channel(change: Callable[[Tensor], object]) -> Change:
    """Change the weights of output channel 0 of every synapse."""
    return each_weight(lambda weight: change(weight[0]))


def each_norm(**values: float) -> Change:
    """Fill tensors of every batch norm: weight, bias, running_mean, running_var."""

    def changed(network: nn.Module) -> None:
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for name, value in values.items():
                    getattr(norm, name).fill_(value)

    return changed


def neurons(make: Callable[[], nn.Module]) -> Change:
    """Other neurons at every place."""

    def changed(network: nn.Module) -> None:
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, LIF):
                    setattr(parent, name, make())

    return changed


@dataclass(frozen=True)
class Case:
    """One extreme. quantize: the recipe's section; x: what calibrates, and what is compared."""

    name: str
    change: Change = nothing
    quantize: Mapping[str, object] = field(default_factory=dict)
    x: Tensor = field(default_factory=make_input)


FINE_WORD = {"membrane": {"bit_width": 16, "guard_bits": 12}}

CASES = (
    Case("as it is"),
    Case("all weights 0", each_weight(torch.Tensor.zero_)),
    Case("one dead channel a layer", one_channel(torch.Tensor.zero_)),
    Case("one dead channel, weights by channel, ternary", one_channel(torch.Tensor.zero_),
         {"weight": {"bit_width": 1.58, "granularity": "per_channel"}}),
    Case("weights denormal (1e-40)", each_weight(lambda weight: weight.fill_(DENORMAL))),
    Case("one denormal channel, weights by channel", one_channel(lambda weight: weight.fill_(DENORMAL)),
         {"weight": {"granularity": "per_channel"}}),
    Case("all weights times 1e30", each_weight(lambda weight: weight.mul_(1e30))),
    Case("all weights times 1e-30", each_weight(lambda weight: weight.mul_(1e-30))),
    Case("first layer times 1e30", each_weight(lambda weight: weight.mul_(1e30), first=True)),
    Case("one channel times 1e30", one_channel(lambda weight: weight.mul_(1e30))),
    Case("one channel times 1e30, weights by channel", one_channel(lambda weight: weight.mul_(1e30)),
         {"weight": {"granularity": "per_channel"}}),
    Case("all weights equal", each_weight(lambda weight: weight.fill_(0.1))),
    Case("variance of norms 0", each_norm(running_var=0.0)),
    Case("variance of norms 1e-30", each_norm(running_var=1e-30)),
    Case("variance of norms 1e30", each_norm(running_var=1e30)),
    Case("mean of norms 1e30", each_norm(running_mean=1e30)),
    Case("gain of norms 0", each_norm(weight=0.0)),
    Case("gain of norms -1", each_norm(weight=-1.0)),
    Case("gain of norms 1e30", each_norm(weight=1e30)),
    Case("the same, norms of powers of two", each_norm(weight=1e30), {"batch_norm": {"mode": "power_of_two"}}),
    Case("gain of norms 1e-30", each_norm(weight=1e-30)),
    Case("bias of norms 1e30", each_norm(bias=1e30)),
    Case("threshold 1e30", neurons(lambda: LIF(threshold=1e30))),
    Case("threshold 1e-30", neurons(lambda: LIF(threshold=1e-30))),
    Case("reset value -1e30", neurons(lambda: LIF(reset_value=-1e30))),
    Case("tau 1 + 1e-6: forgets at once", neurons(lambda: LIF(tau=1.0 + 1e-6))),
    Case("tau 1e6: hardly leaks", neurons(lambda: LIF(tau=1e6))),
    Case("no leak", neurons(IF)),
    Case("membranes of 2 bits", quantize={"membrane": {"bit_width": 2}}),
    Case("membranes of 16 bits, 12 guard bits", quantize=FINE_WORD),
    Case("16 and 12 bits, norms of powers of two", quantize={**FINE_WORD, "batch_norm": {"mode": "power_of_two"}}),
    Case("16 and 12 bits, no leak, subtracting reset", neurons(lambda: IF(reset="soft")), FINE_WORD),
    Case("norms of 2 and 4 bits", quantize={"batch_norm": {"scale_bit_width": 2, "shift_bit_width": 4}}),
    Case("weights of 1 bit, membranes of 2", quantize={"weight": {"bit_width": 1}, "membrane": {"bit_width": 2}}),
    Case("input 0", x=torch.zeros(4, 6, 1, 8, 8)),
    Case("input denormal (1e-40)", x=torch.full((4, 6, 1, 8, 8), DENORMAL)),
    Case("input times 1e30", x=1e30 * make_input()),
    Case("input times 1e-30", x=1e-30 * make_input()),
    Case("input of both signs", x=make_input() - 0.5),
    Case("one sample of 1e30", x=torch.cat([make_input(), torch.full((4, 1, 1, 8, 8), 1e30)], 1)),
    Case("input with a NaN", x=torch.cat([make_input(), torch.full((4, 1, 1, 8, 8), math.nan)], 1)),
    Case("input with infinity", x=torch.cat([make_input(), torch.full((4, 1, 1, 8, 8), math.inf)], 1)),
    Case("one sample", x=make_input(samples=1)),
    Case("T = 1", x=make_input(time_steps=1)),
    Case("T = 1, one sample", x=make_input(time_steps=1, samples=1)),
    Case("T = 256", x=make_input(time_steps=256, samples=2)),
    Case("T = 256, membranes of 16 bits, 12 guard bits, no leak", neurons(lambda: IF(reset="soft")), FINE_WORD,
         make_input(time_steps=256, samples=2)),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a case: exact, refused in words of this project, or neither, and what is said of it."""

    kind: str
    said: str


def compared(case: Case) -> Outcome:
    """Compress, lower, run by all witnesses."""
    torch.manual_seed(SEED)
    network = digits_snn(channels=4)
    with torch.no_grad():
        network.train()(make_input())  # norms with statistics of data
        case.change(network.eval())
    recipe = Recipe.model_validate({"name": "extreme", "quantize": case.quantize})
    try:
        student = compress(network, case.x[:, :1], recipe, [case.x])
        report = verify(student, torch.cat([case.x, 5.0 * case.x, torch.zeros_like(case.x)], dim=1))
    except IntsnnError as error:
        return Outcome("refused", error.message)
    if not report.equal:
        return Outcome("neither", str(report.first_difference))
    return Outcome("exact", f"{len(report.witnesses)} witnesses, {report.values:,} values, {report.spikes:,} spikes")


def outcome(case: Case) -> Outcome:
    """The same; an error that is none of this project's is what is looked for."""
    try:
        return compared(case)
    except Exception as error:  # a traceback, whatever its kind
        return Outcome("neither", f"{type(error).__name__}: {error}")


def main() -> int:
    """The page."""
    outcomes = {case.name: outcome(case) for case in CASES}
    counts = Counter(one.kind for one in outcomes.values())
    print("# Extremes\n")
    print("Made by `python -m benchmarks extremes > docs/results/extremes.md`", end=" ")
    print(f"(seed {SEED}, PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {platform.machine()}).\n")
    print(
        "A small convolutional network, changed in one way a row, is compressed, lowered, and run by all witnesses on"
    )
    print(
        "what calibrated it, on five times that, and on zeros. A row is exact on every spike and membrane, or refused"
    )
    print("with a reason. Numbers of 1e30 come from a broken training: a refusal is what one wants to read.\n")
    print(f"{len(CASES)} rows: {counts['exact']} exact, {counts['refused']} refused, {counts['neither']} neither.\n")
    print("| what is extreme | what comes out | |\n|---|---|---|")
    for name, one in outcomes.items():
        said = " ".join(one.said.split()).replace("|", chr(92) + "|")
        print(f"| {name} | {one.kind} | {said} |")
    return 1 if counts["neither"] else 0


if __name__ == "__main__":
    sys.exit(main())
