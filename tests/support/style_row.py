"""One row of `style_forms`: how a network is written, and the verdict."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

IMAGE, STEPS = "takes one image, [N, ...], for all steps", "takes all steps, [T, N, ...]"
ONE_STEP = "takes one step at a time, [N, ...]"
ZEROS = "v = torch.zeros(x.shape[0], 12)"


@dataclass(frozen=True)
class Row:
    """One style.

    code: the body of `forward(self, x)`, or with `neuron` a class `Neuron`. before: what stands above the network.
    calls: how a network that is read is called. says: its equations, else words of the refusal. why: its reason.
    instead: the code with a line more or another line, with which the network is read.
    """

    name: str
    code: str
    calls: str = ""
    says: str = ""
    before: str = ""
    why: str = ""
    neuron: bool = False
    instead: str = ""


def charging(lines: str, start: str = ZEROS) -> str:
    """A network of one image whose first neuron, v at rest in `start`, has these lines for each step."""
    body = textwrap.indent(lines, "    ")
    end = "    out = out + self.fc2(s)\nreturn out / self.T\n"
    return f"{start}\nout = 0.0\nfor t in range(self.T):\n{body}{end}"
