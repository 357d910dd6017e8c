"""An integer graph -> one C11 translation unit: the network's state in one struct, one function a stage.

`NAME_reset` puts the state to rest, `NAME_step` takes one step of one sample, `NAME_answer` gives the readout so far.
On a host `NAME_run` takes whole samples, a few steps of a stage at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from intsnn.checking.stages import checked_bounds, longest_run
from intsnn.emission.context import ELEMENT_BYTES_OF, Context
from intsnn.emission.memory import STEP_ALIGNMENT, Layout, Lifetime, placed, rounded_up
from intsnn.emission.running import answers, counts_steps, run_functions, stream_functions
from intsnn.emission.segments import Kept, crossing, gathered_stages, kept
from intsnn.emission.stages import stages
from intsnn.emission.storage import stores
from intsnn.emission.tables import Table, Tables
from intsnn.emission.targets import HOST, MICROCONTROLLER, Target
from intsnn.emission.text import indented
from intsnn.emission.writing import stage_functions
from intsnn.graph import IntGraph


@dataclass(frozen=True)
class Source:
    """A network as C.

    header, code: the texts. tables: the constants, in order; block: their bytes, where they do not stand in the code.
    state: bytes that last from step to step, by the node they belong to; buffer_bytes: memory that the stages share.
    channels_last: neurons whose spikes lie in memory with the channels last. longest_run: the most steps between two
    resets; None: any number.
    """

    name: str
    header: str
    code: str
    tables: tuple[Table, ...]
    block: bytes
    state: Mapping[str, int]
    buffer_bytes: int
    channels_last: frozenset[str]
    longest_run: int | None


def host_source(graph: IntGraph, name: str = "network") -> Source:
    """C for the machine that runs Python: vector registers, lists of events, constants beside the code.

    Args:
        graph: legal.
        name: of the struct and the functions, a C identifier.

    Raises:
        GraphError: the graph breaks a rule of FORMAT.md.
    """
    return _source(graph, name, HOST)


def portable_source(graph: IntGraph, name: str = "network") -> Source:
    """C for any processor, and small: plain loops, packed weights, constants in the code.

    Args:
        graph: legal.
        name: of the struct and the functions, a C identifier.

    Raises:
        GraphError: the graph breaks a rule of FORMAT.md.
    """
    return _source(graph, name, MICROCONTROLLER)


def _source(graph: IntGraph, name: str, target: Target) -> Source:
    proved = checked_bounds(graph)
    lying = stores(graph, proved, target.word_bits)
    found = stages(graph, lying)
    gathered = gathered_stages(graph, found, target)
    context = Context(graph, name, target, proved, lying, found, Tables(target.has_tables, name), gathered)
    for tensor in crossing(graph, found, gathered):
        context.kept[context.tensor_place(tensor)] = lying[tensor].step_bytes
    longest = longest_run(graph, proved)
    functions = [line for stage in found for line in stage_functions(context, stage)]
    layout, waiting = placed(_lifetimes(context)), kept(context.kept, target)
    header = _header(context, layout.size, waiting, longest)
    code = _kernels(target) + indented(
        [
            *context.tables.definitions,
            *_places(context, layout, waiting),
            *functions,
            *stream_functions(context, longest),
            *(run_functions(context, waiting) if target is HOST else []),
        ]
    )
    return Source(
        name=name,
        header=header,
        code=code,
        tables=tuple(context.tables.all),
        block=context.tables.block if not target.has_tables else b"",
        state=_state_bytes(context),
        buffer_bytes=layout.size,
        channels_last=frozenset(
            node.name for node in graph.neurons if len(node.shape) > 1 and lying[node.name].order == "last"
        ),
        longest_run=longest,
    )


def _lifetimes(context: Context) -> list[Lifetime]:
    """Stored tensors from their stage to their last reader, and what a stage needs for itself; not what is kept."""
    steps, last = context.target.steps, dict[str, int]()
    for stage in context.stages:
        for tensor in stage.reads(context.graph):
            last[tensor] = stage.index
    found = [
        Lifetime(
            context.tensor_place(tensor),
            rounded_up(context.stores[tensor].step_bytes, STEP_ALIGNMENT) * steps,
            stage.index,
            last[tensor],
        )
        for stage in context.stages
        for tensor in stage.stored
        if tensor in last
    ]
    own = (
        Lifetime(context.scratch_place(each.name), each.step_bytes * steps, each.stage, each.stage)
        for each in context.scratch.values()
    )
    return [each for each in (*found, *own) if each.name not in context.kept]


def _places(context: Context, layout: Layout, waiting: Kept) -> list[str]:
    """Where each tensor begins in the block that they share, or among what is kept of a step, as constants."""
    named = [f"{name} = {offset}," for name, offset in (layout.offsets | waiting.offsets).items()]
    named += [f"{context.name}_kept_step = {waiting.step_bytes},"] if waiting.offsets else []
    return ["", "/* where tensors begin in the block that they share */", "enum {", *named, "};", ""] if named else [""]


def _state_bytes(context: Context) -> dict[str, int]:
    found: dict[str, int] = {}
    word = context.target.word_bits // 8
    for element, count, part in context.members.values():
        size = count * (word if element == "word" else ELEMENT_BYTES_OF[element])
        found[part] = found.get(part, 0) + size
    readout = context.graph.output
    return {**found, readout.name: 4 * answers(context)}


def _kernels(target: Target) -> str:
    names = ["common.h", "bits64.h", "lists.h"] if target.has_lists else ["common.h", "bits32.h"]
    folder = files("intsnn.emission") / "kernels"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names) + "\n"


def _header(context: Context, size: int, waiting: Kept, longest: int | None) -> str:
    """What C and C++ both read: functions with C's names."""
    upper = context.name.upper()
    parts = [
        indented([f"#ifndef {upper}_H", f"#define {upper}_H", "#include <stddef.h>", "#include <stdint.h>", ""]),
        indented([*_constants(context, longest), "", *_struct(context, size, waiting), ""]),
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        indented(_declarations(context, longest)),
        "#ifdef __cplusplus\n}\n#endif\n#endif\n",
    ]
    return "".join(parts)


def _constants(context: Context, longest: int | None) -> list[str]:
    graph, upper = context.graph, context.name.upper()
    steps, why = (
        ("INT32_MAX", "no limit: nothing is summed over the steps")
        if longest is None
        else (
            str(longest),
            "the network has its norms for so many"
            if graph.time_steps
            else "up to here every sum of the answer fits int32",
        )
    )
    return [
        f"#define {upper}_INPUT_SIZE {math.prod(graph.input.shape)}",
        f"#define {upper}_OUTPUT_SIZE {math.prod(graph.output.shape)}",
        f"#define {upper}_NEURONS {len(graph.neurons)}",
        "/* The most steps from one reset to the next */",
        f"#define {upper}_MAX_STEPS {steps} /* {why} */",
    ]


def _struct(context: Context, size: int, waiting: Kept) -> list[str]:
    name, graph = context.name, context.graph
    word = f"uint{context.target.word_bits}_t"
    lines = [f"struct {name} {{"]
    if size:
        lines.append(f"uint64_t block[{size // 8}]; /* of any type: the widest sets its alignment */")
    if waiting.offsets:
        lines.append(f"uint64_t kept[{waiting.vectors * waiting.step_bytes // 8}]; /* of steps that wait */")
        lines.append("int32_t vector; /* the place of the first step among those that are kept */")
    for member, (element, count, _) in context.members.items():
        lines.append(f"{word if element == 'word' else element + '_t'} {member}[{count}];")
    lines.append(f"int32_t answer[{answers(context)}];")
    lines += ["int32_t step;"] if counts_steps(context) else []
    if not context.target.has_tables:
        numbers = ("arrived", "turn", "form", f"from[{context.target.steps}]")
        lines += [*(f"int32_t {number};" for number in numbers), "const unsigned char *tables;"]
    trace = ["uint8_t *spikes[{0}];", "int32_t *membranes[{0}];"] if graph.neurons else []
    lines += [f"#ifdef {name.upper()}_TRACE", *(each.format(len(graph.neurons)) for each in trace)]
    lines += ["size_t samples;", "int as_stored;"] if context.target.steps > 1 else []
    return [*lines, "#endif", "};"]


def _declarations(context: Context, longest: int | None) -> list[str]:
    name, x = context.name, context.input_type
    end = f" After {name.upper()}_MAX_STEPS steps it does nothing and returns 0."
    return [
        "/* State to rest: before the first step of every sample. */",
        f"void {name}_reset(struct {name} *net);",
        f"/* One step of one sample; x is row-major, channels first. Returns 1.{'' if longest is None else end} */",
        f"int {name}_step(struct {name} *net, const {x} *x);",
        "/* The readout so far. */",
        f"void {name}_answer(const struct {name} *net, int32_t *logits);",
        "",
    ]
