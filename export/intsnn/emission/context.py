"""What every part of the emitter needs to know of the network: where tensors and constants are, and their C names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from intsnn.emission.memory import STEP_ALIGNMENT, rounded_up
from intsnn.emission.stages import Stage
from intsnn.emission.storage import ELEMENT_BYTES, Store
from intsnn.emission.tables import Tables
from intsnn.emission.targets import Target
from intsnn.emission.text import identifier, loop
from intsnn.graph import IntGraph, IntNode
from intsnn.graph.bounds import ChannelBounds


@dataclass(frozen=True)
class Scratch:
    """Memory that one stage needs while it runs: bytes of each step, and its C element type."""

    name: str
    element: str
    step_bytes: int
    stage: int


@dataclass
class Context:
    """The network, its tensors in memory, and what the stages have asked for so far."""

    graph: IntGraph
    name: str
    target: Target
    proved: Mapping[str, ChannelBounds]
    stores: Mapping[str, Store]
    stages: Sequence[Stage]
    tables: Tables
    gathered: frozenset[int] = frozenset()  # stages whose sums are made for several samples at once
    kept: dict[str, int] = field(default_factory=dict)  # what waits between segments: its place -> bytes of a step
    scratch: dict[str, Scratch] = field(default_factory=dict)
    members: dict[str, tuple[str, int, str]] = field(default_factory=dict)  # name -> element, values, part

    def id(self, node: IntNode) -> str:
        """The node's own C name."""
        return f"{identifier(node.name)}_{self.graph.nodes.index(node)}"

    def title(self, stage: Stage) -> str:
        """The C name of a stage."""
        return f"stage{stage.index}_{identifier(stage.nodes[0].name)}"

    @property
    def net(self) -> str:
        """The parameter that every function has."""
        return f"struct {self.name} *net"

    @property
    def input_type(self) -> str:
        """The C type of an input value."""
        return "int8_t" if self.graph.input.signed else "uint8_t"

    def pointer(self, tensor: str, *, const: bool = True) -> str:
        """The C of a pointer to a stored tensor at step t."""
        store = self.stores[tensor]
        return self._at(self.tensor_place(tensor), element_type(store), store.step_bytes, const=const)

    def scratch_pointer(self, name: str, *, const: bool = True, step: str = "t") -> str:
        """The C of a pointer to scratch memory at a step."""
        part = self.scratch[name]
        return self._at(self.scratch_place(name), part.element, part.step_bytes, const=const, step=step)

    def tensor_place(self, tensor: str) -> str:
        """The C name of the constant that says where a stored tensor begins."""
        return f"{self.name}_tensor_{self.id(self.graph.node(tensor))}"

    def scratch_place(self, name: str) -> str:
        """The C name of the constant that says where scratch memory begins."""
        return f"{self.name}_own_{name}"

    def member(self, name: str, element: str, count: int, part: str) -> str:
        """Ask for an array of the network's state; the C of it."""
        self.members[name] = (element, count, part)
        return f"net->{name}"

    def ask(self, stage: Stage, name: str, element: str, count: int) -> None:
        """Ask for scratch memory of a stage, `count` elements a step."""
        size = count * (self.target.word_bits // 8 if element == "word" else ELEMENT_BYTES_OF[element])
        self.scratch[name] = Scratch(name, f"nn_{element}", rounded_up(size, STEP_ALIGNMENT), stage.index)
        if stage.index in self.gathered:
            self.kept[self.scratch_place(name)] = self.scratch[name].step_bytes

    def steps(self) -> list[str]:
        """The head of the loop over the steps of a block."""
        return [loop("t", "steps")] if self.target.steps > 1 else ["{ const int t = 0; (void)t;"]

    def _at(self, place: str, element: str, step_bytes: int, *, const: bool, step: str = "t") -> str:
        words = "const " if const else ""
        if place in self.kept:
            step = f"(size_t)(net->vector + {step}) * {self.name}_kept_step"
            return f"(({words}{element} *)(void *)((unsigned char *)net->kept + {place} + {step}))"
        step = f" + {step} * {rounded_up(step_bytes, STEP_ALIGNMENT)}" if self.target.steps > 1 else ""
        return f"(({words}{element} *)(void *)((unsigned char *)net->block + {place}{step}))"


ELEMENT_BYTES_OF: Mapping[str, int] = {
    **{str(name): size for name, size in ELEMENT_BYTES.items()},
    "uint16": 2,
    "uint32": 4,
}


def element_type(store: Store) -> str:
    """The C type of a tensor's elements."""
    return "nn_word" if store.is_bits else f"nn_{store.element}"
