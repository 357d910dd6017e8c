"""Labels follow every element through views, writes in place and joins; data may be looked at.

An input of numbers 0, 1, 2, ... has the cells 0, 1, 2, ...: what only moves elements has labels equal to its values,
and -1 where a constant stands, so constants are -1 here.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting import CALLINGS, LiftError, lift
from mdcompress.lifting.tape import Recording
from mdcompress.tracing.conventions import fit
from tests.support.hand_reading import (
    Reading,
    chosen_by_value,
    indexed,
    monitored,
    nonzero,
    scaled_by_value,
    written_where_data_say,
    x_steps,
)

SHAPE = (2, 3, 4)


def numbered() -> Tensor:
    return torch.arange(24, dtype=torch.float64).reshape(SHAPE)


def labels(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The cells that the elements of function(x) hold, -1 where they are constants."""
    recording = Recording(nn.Identity())
    with recording.watching():
        recording.input(x)
        found = recording.operand(function(x))
    if found.labels is None:
        assert found.value is not None
        return torch.full(found.value.shape, -1)
    return found.labels


def _into_slice(x: Tensor) -> Tensor:
    y = torch.full((3, 2, 4), -1.0)
    y[1:] = x[:, 1:3].transpose(0, 1)
    return y


def _into_column(x: Tensor) -> Tensor:
    y = -torch.ones_like(x)
    for k in range(2):
        y[:, k, ::2] = x[:, 2 - k, 1::2]
    return y


def _into_a_view(x: Tensor) -> Tensor:
    y = x.clone()
    y.transpose(0, 2)[0] = x[0, 0, :3].unsqueeze(1)
    return y


def _through_a_view(x: Tensor) -> Tensor:
    y = x.clone()
    row = y[1]
    y[1] = x[0]
    return row


def _overwritten(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1].fill_(-1.0)
    y[0, 0] = -1.0
    return y


def _erased(x: Tensor) -> Tensor:
    y = x.clone()
    y.zero_().sub_(1.0)
    return y


def _at_indices(x: Tensor) -> Tensor:
    y = torch.full((5, 4), -1.0, dtype=x.dtype)
    y[torch.tensor([3, 0])] = x[:, 0]
    return y


def _unsqueezed(x: Tensor) -> Tensor:
    y = x.clone()
    y.unsqueeze_(1)
    y.squeeze_(1).transpose_(0, 1)
    return y.t() if y.dim() == 2 else y


def _set_in_place(x: Tensor) -> Tensor:
    y = torch.full((24,), -1.0)
    y.view(2, 12).copy_(x.reshape(2, 12).flip(1))
    return y


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda x: x.view(6, 4),
    "reshape of a transpose": lambda x: x.transpose(0, 1).reshape(6, 4),
    "permute": lambda x: x.permute(2, 0, 1),
    "strides": lambda x: x[:, ::2, 1::2],
    "as_strided": lambda x: x.as_strided((3, 2), (8, 1), 5),
    "unfold": lambda x: x.unfold(2, 2, 1),
    "diagonal": lambda x: x.diagonal(dim1=1, dim2=2),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1),
    "repeat": lambda x: x.repeat(2, 1, 2),
    "repeat_interleave": lambda x: x.repeat_interleave(3, dim=1),
    "cat": lambda x: torch.cat([x[:, 2:], torch.full((2, 1, 4), -1.0), x[:, :1]], 1),
    "stack": lambda x: torch.stack([x[1], x[0]], -1),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=-1.0),
    "negative pad": lambda x: F.pad(x, (-1, 2), value=-1.0),
    "reflected pad": lambda x: F.pad(x, (1, 2), mode="reflect"),
    "flip": lambda x: x.flip(0, 2),
    "roll": lambda x: x.roll(1, 2),
    "index by a list": lambda x: x[:, [2, 0, 0]],
    "index_select": lambda x: x.index_select(1, torch.tensor([2, 1])),
    "gather": lambda x: x.gather(2, torch.tensor([3, 1]).expand(2, 3, 2)),
    "constant mask": lambda x: x[:, torch.tensor([True, False, True])],
    "upsampled": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.reshape(1, 24, 1, 1), 2),
    "unfolded patches": lambda x: F.unfold(x.reshape(1, 2, 3, 4), 2),
    "chunk": lambda x: torch.cat(x.chunk(2, dim=2)[::-1], 2),
    "detached, cloned": lambda x: x.detach().clone().contiguous(),
    "another dtype": lambda x: x.float().half().double(),
    "einops' own": lambda x: x.reshape(2, 3, 2, 2).movedim(3, 0).flatten(1, 2),
    "write into a slice": _into_slice,
    "write with strides": _into_column,
    "write into a view": _into_a_view,
    "write seen through a view": _through_a_view,
    "overwritten by constants": _overwritten,
    "erased": _erased,
    "write at constant indices": _at_indices,
    "unsqueeze_, squeeze_, transpose_": _unsqueezed,
    "copy_ into a view": _set_in_place,
}


@pytest.mark.parametrize("name", MOVES)
def test_labels_are_where_the_elements_are(name: str) -> None:
    x = numbered()
    expected = MOVES[name](x.clone())
    assert torch.equal(labels(MOVES[name], x), expected.long()), name


def test_what_computes_makes_cells_of_its_own() -> None:
    recording = Recording(nn.Identity())
    x = numbered()
    with recording.watching():
        recording.input(x)
        y = 2 * x + 1
        z = torch.cat([y[0, :1], x[0, :1]])
        found = recording.operand(z)
    given, double, plus = recording.tape.ops
    assert [(op.name, op.base) for op in (given, double, plus)] == [("input", 0), ("mul", 24), ("add", 48)]
    assert found.labels is not None and found.labels.tolist() == [[48, 49, 50, 51], [0, 1, 2, 3]]
    assert plus.operands[0].labels is not None and torch.equal(plus.operands[0].labels, 24 + x.long())
    assert recording.tape.values[2].tolist() == [2.0 * k + 1 for k in range(24)]


def test_what_is_computed_in_place_changes_the_views_of_it() -> None:
    recording = Recording(nn.Identity())
    x = numbered()
    with recording.watching():
        recording.input(x)
        y = torch.zeros(2, 3, 4)
        row = y[1]
        row.add_(x[0])
        found = recording.operand(y)
    (_, add) = recording.tape.ops
    assert found.labels is not None and (found.labels[0] == -1).all()
    assert found.labels[1].reshape(-1).tolist() == list(range(add.base, add.base + 12))
    assert found.value is not None and torch.equal(y[1], x[0])


def test_a_masked_write_chooses_element_by_element() -> None:
    recording = Recording(nn.Identity())
    x = numbered()
    with recording.watching():
        recording.input(x)
        y = x * 1.0
        y[x > 5] = -3.0
        found = recording.operand(y)
    where = recording.tape.ops[-1]
    assert where.name == "where" and where.evaluate is not None
    assert found.labels is not None and found.labels.reshape(-1).tolist() == list(range(where.base, where.base + 24))
    mask, old = torch.tensor([0.0, 1.0]), torch.tensor([7.0, 7.0])
    assert where.evaluate(mask, torch.tensor(-3.0), old).tolist() == [7.0, -3.0]
    assert y.reshape(-1).tolist() == [float(k) if k <= 5 else -3.0 for k in range(24)]


def test_a_masked_read_written_back_is_a_choice_too() -> None:
    recording = Recording(nn.Identity())
    x = numbered()
    with recording.watching():
        recording.input(x)
        y = x * 1.0
        mask = x > 5
        y[mask] = y[mask] - 4.0
    assert y.reshape(-1).tolist() == [float(k) if k <= 5 else k - 4.0 for k in range(24)]
    assert recording.tape.ops[-1].name == "where"


def test_the_default_dtype_is_back_after_watching() -> None:
    assert torch.get_default_dtype() is torch.float32
    with pytest.raises(RuntimeError, match="stop"), Recording(nn.Identity()).watching():
        assert torch.get_default_dtype() is torch.float64
        raise RuntimeError("stop")
    assert torch.get_default_dtype() is torch.float32


# ---------------------------------------------------------------------- data that leave the network


def test_values_that_are_only_looked_at_are_allowed() -> None:
    found = fit(Reading(monitored), x_steps()).network(x_steps())
    assert found.sum() > 0 and torch.allclose(found, Reading(monitored)(x_steps()))


@pytest.mark.parametrize("reads", [scaled_by_value, chosen_by_value])
def test_a_choice_by_a_value_is_refused(reads: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(LiftError) as error:
        lift(Reading(reads), x_steps(), CALLINGS[0])
    assert error.value.message.startswith("the network reads the values of a tensor that comes from its input")
    assert "hand_reading.py:" in error.value.message


@pytest.mark.parametrize(
    ("reads", "words"),
    [(indexed, "calls sort"), (nonzero, "reads the values"), (written_where_data_say, "data choose")],
)
def test_places_that_data_choose_are_refused(reads: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(TraceError) as error:
        fit(Reading(reads), x_steps())
    assert words in error.value.message and "hand_reading.py:" in error.value.message
