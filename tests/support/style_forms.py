"""Styles of hand-written networks: a few lines of each, and what `fit` makes of it.

docs/frameworks/styles.md is made of these rows: `python -m tests.support.style_forms` writes the page anew.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.support.paths import ROOT
from tests.support.style_row import Row
from tests.support.style_rows_read import READ
from tests.support.style_rows_refused import ONE_LINE, REFUSED

PAGE = ROOT / "docs" / "frameworks" / "styles.md"
STEPS = 4

_FUNCTIONS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x >= 0).float()

    @staticmethod
    def backward(ctx, gradient):
        return gradient
"""

_NETWORK = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 12), nn.Linear(12, 4)
        self.recurrent = nn.Linear(12, 12, bias=False)
        self.norm = nn.BatchNorm1d(12)
        self.leak = nn.Parameter(torch.tensor(0.4))
        self.threshold = nn.Parameter(torch.linspace(0.2, 0.6, 12))
        self.mem, self.mems, self.T = None, {}, 4

    def forward(self, x):
"""

_MODULES = """\

def net():
    return nn.Sequential(nn.Linear(6, 12), Neuron(), nn.Linear(12, 4))
"""


@dataclass(frozen=True)
class Style:
    """A row as a network, which is ready to be read."""

    row: Row

    def source(self) -> str:
        """The whole file: the row's lines in a small network."""
        if self.row.neuron:
            return f"{_FUNCTIONS}\n\n{self.row.code}\n{_MODULES}"
        made = "\n\ndef net():\n    return Net()\n"
        return f"{_FUNCTIONS}\n\n{self.row.before}\n\n{_NETWORK}{textwrap.indent(self.row.code, ' ' * 8)}{made}"

    def build(self) -> nn.Module:
        """The network, with weights that make it fire."""
        names: dict[str, object] = {"__name__": "own_network"}
        exec(compile(self.source(), "own_network.py", "exec"), names)
        torch.manual_seed(0)
        network = names["net"]()  # type: ignore[operator]  # of the source above
        assert isinstance(network, nn.Module)
        return network.eval()

    def sample(self) -> Tensor:
        """[T, N, 6], the same image at each step: every way of calling is given the same."""
        torch.manual_seed(1)
        return (2 * torch.rand(2, 6)).repeat(STEPS, 1, 1)


STYLES = tuple(Style(row) for row in (*READ, *ONE_LINE, *REFUSED))

_HEAD = """\
# Styles of hand-written networks

How people write spiking neurons, and what becomes of it. Each row is a small network: two linear layers, `fc1` and
`fc2`, and the lines that are shown. `Spike` is a `torch.autograd.Function`, `x >= 0` with a surrogate gradient. How
networks are read, and what to do with a refusal: [your own network](../own_network.md). Neurons of libraries:
[support](support.md).

The lines are not looked up by their words. The values of one pass are followed, so that other spellings of the same
neuron are read too. In the equations x is the current, h the membrane before the reset, v after it, s the spike.

Made from the rows in `tests/support/style_rows_read.py` and `style_rows_refused.py`, which the tests run:
`python -m tests.support.style_forms`.
"""


def page() -> str:
    """The text of docs/frameworks/styles.md."""
    parts = [_HEAD, _overview(), f"## Read ({len(READ)})\n"]
    parts += [_section(row, f"Read. The network {row.calls}.\n\n{equations(row.says)}") for row in READ]
    parts.append(f"## Read with another line ({len(ONE_LINE)})\n")
    parts += [_section(row, f"{_refusal(row)}\n\nRead with:\n\n```python\n{other_lines(row)}\n```") for row in ONE_LINE]
    parts.append(f"## Refused ({len(REFUSED)})\n")
    parts += [_section(row, _refusal(row)) for row in REFUSED]
    return "\n".join(parts)


def _overview() -> str:
    lines = ["| style | |", "|---|---|", *(f"| {row.name} | read |" for row in READ)]
    lines += [f"| {row.name} | needs another line: {row.why} |" for row in ONE_LINE]
    lines += [f"| {row.name} | refused: {row.why} |" for row in REFUSED]
    return "\n".join(lines) + "\n"


def _refusal(row: Row) -> str:
    return f'Refused: {row.why}. The message has: "{row.says}".'


def other_lines(row: Row) -> str:
    """Those lines with which the row is read, where they are not those of the row."""
    own = row.code.splitlines()
    return textwrap.dedent("\n".join(line for line in row.instead.splitlines() if line not in own or not line)).strip(
        "\n"
    )


def equations(says: str) -> str:
    """The equations of a row, one a line of a list."""
    return "\n".join(f"- `{each}`" if "=" in each else f"- {each}" for each in says.split("; "))


def _section(row: Row, verdict: str) -> str:
    code = "\n\n\n".join(part.strip("\n") for part in (row.before, row.code) if part)
    return f"### {row.name}\n\n```python\n{code}\n```\n\n{verdict}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
