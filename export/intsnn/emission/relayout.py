"""A tensor as a stage wants to read it: where it is, or a copy with its axes in the other order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intsnn.emission.context import Context
from intsnn.emission.stages import Stage
from intsnn.emission.storage import Order, Store
from intsnn.emission.text import loop


@dataclass(frozen=True)
class Read:
    """A stored tensor at step t, as C, and how it lies."""

    store: Store
    at: str

    def value(self, index: tuple[str, ...]) -> str:
        """The C of one value as int32, from its index in the per-sample shape."""
        row, place = self.store.place(index)
        if self.store.is_bits:
            return f"nn_bit({self.at} + ({row}) * {self.store.words}, {place})"
        return f"((int32_t)({self.at})[({row}) * {self.store.inner} + {place}])"

    def write(self, index: tuple[str, ...], value: str) -> str:
        """The C that writes one value; bits must have been cleared before."""
        row, place = self.store.place(index)
        if self.store.is_bits:
            return f"nn_set_bit({self.at} + ({row}) * {self.store.words}, {place}, {value});"
        return f"({self.at})[({row}) * {self.store.inner} + {place}] = ({self.store.element}_t)({value});"

    def cleared(self) -> list[str]:
        """The C that clears bits before they are written one by one."""
        return [f"nn_clear({self.at}, {self.store.step_bytes});"] if self.store.is_bits else []


def read_as(context: Context, stage: Stage, tensor: str, order: Order) -> tuple[Read, list[str]]:
    """A tensor in an order, and the C that makes the copy at step t where it lies in another."""
    store = context.stores[tensor]
    if store.order == order or len(store.shape) == 1:
        return Read(store, context.pointer(tensor)), []
    wanted, name = replace(store, order=order), f"turned_{context.id(context.graph.node(tensor))}_{stage.index}"
    context.ask(stage, name, *wanted.held)
    source = Read(store, context.pointer(tensor))
    copy = Read(wanted, context.scratch_pointer(name, const=False))
    made = [*copy.cleared(), *over(store.shape, [copy.write(names(store.shape), source.value(names(store.shape)))])]
    return Read(wanted, context.scratch_pointer(name)), made


def stored(context: Context, tensor: str) -> Read:
    """A tensor of this stage, to write."""
    return Read(context.stores[tensor], context.pointer(tensor, const=False))


def names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """The C names of the indices of a shape."""
    return tuple(f"i{axis}" for axis in range(len(shape)))


def over(shape: tuple[int, ...], body: list[str]) -> list[str]:
    """A loop for each axis of a shape around lines."""
    heads = [loop(name, size) for name, size in zip(names(shape), shape, strict=True)]
    return [*heads, *body, *("}" for _ in heads)]
