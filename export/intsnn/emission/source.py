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
from intsnn.emission.stages import Stage, stages
from intsnn.emission.storage import stores
from intsnn.emission.tables import Table, Tables
from intsnn.emission.targets import HOST, MICROCONTROLLER, Target
from intsnn.emission.text import indented
from intsnn.emission.writing import is_shared, stage_functions
from intsnn.graph import IntFlatten, IntGraph, IntInput


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
    context = Context(graph, name, target, proved, lying, found, Tables(target.has_tables, name))
    longest = longest_run(graph, proved)
    functions = [line for stage in found for line in stage_functions(context, stage)]
    layout = placed(_lifetimes(context))
    header = _header(context, layout.size, longest)
    code = _kernels(target) + indented(
        [
            *context.tables.definitions,
            *_places(layout),
            *functions,
            *_whole(context, longest),
            *(_host(context) if target is HOST else []),
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
    """Stored tensors from their stage to their last reader, and what a stage needs for itself."""
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
    return [*found, *own]


def _places(layout: Layout) -> list[str]:
    """Where each tensor begins in the block that they share, as constants."""
    named = [f"{name} = {offset}," for name, offset in layout.offsets.items()]
    return ["", "/* where tensors begin in the block that they share */", "enum {", *named, "};", ""] if named else [""]


def _state_bytes(context: Context) -> dict[str, int]:
    found: dict[str, int] = {}
    word = context.target.word_bits // 8
    for element, count, part in context.members.values():
        size = count * (word if element == "word" else ELEMENT_BYTES_OF[element])
        found[part] = found.get(part, 0) + size
    readout = context.graph.output
    return {**found, readout.name: 4 * _answers(context)}


def _answers(context: Context) -> int:
    readout = context.graph.output
    return math.prod(readout.shape) * (context.target.steps if readout.mode == "steps" else 1)


def _kernels(target: Target) -> str:
    names = ["common.h", "bits64.h", "lists.h"] if target.has_lists else ["common.h", "bits32.h"]
    folder = files("intsnn.emission") / "kernels"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names) + "\n"


def _header(context: Context, size: int, longest: int | None) -> str:
    """What C and C++ both read: functions with C's names."""
    upper = context.name.upper()
    parts = [
        indented([f"#ifndef {upper}_H", f"#define {upper}_H", "#include <stddef.h>", "#include <stdint.h>", ""]),
        indented([*_constants(context, longest), "", *_struct(context, size), ""]),
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


def _struct(context: Context, size: int) -> list[str]:
    name, graph = context.name, context.graph
    word = f"uint{context.target.word_bits}_t"
    lines = [f"struct {name} {{"]
    if size:
        lines.append(f"uint64_t block[{size // 8}]; /* of any type: the widest sets its alignment */")
    for member, (element, count, _) in context.members.items():
        lines.append(f"{word if element == 'word' else element + '_t'} {member}[{count}];")
    lines.append(f"int32_t answer[{_answers(context)}];")
    lines += ["int32_t step;"] if _counts_steps(context) else []
    if not context.target.has_tables:
        numbers = ("arrived", "turn", "form", f"from[{context.target.steps}]")
        lines += [*(f"int32_t {number};" for number in numbers), "const unsigned char *tables;"]
    trace = ["uint8_t *spikes[{0}];", "int32_t *membranes[{0}];"] if graph.neurons else []
    lines += [f"#ifdef {name.upper()}_TRACE", *(each.format(len(graph.neurons)) for each in trace)]
    lines += ["size_t samples;", "int as_stored;"] if context.target.steps > 1 else []
    return [*lines, "#endif", "};"]


def _counts_steps(context: Context) -> bool:
    """Whether the network must know its step: for the norms of each, or to end before a sum overflows."""
    has_end = context.target is MICROCONTROLLER and context.graph.output.mode == "sum"  # on a host the caller counts
    return context.graph.time_steps is not None or has_end


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


def _done(context: Context) -> list[Stage]:
    """The stages that do something."""
    return [stage for stage in context.stages if not is_folded(context, stage)]


def _call(context: Context, stage: Stage) -> str:
    """The call of a stage."""
    many, given = context.target.steps > 1, ["net"]
    if isinstance(stage.head, IntInput):
        given += ["x", "stride"] if many else ["x"]
    given += ["steps"] if many else []
    given += ["part", "parts"] if is_shared(context, stage) else []
    return f"{context.title(stage)}({', '.join(given)});"


def _block(context: Context) -> tuple[list[str], list[str]]:
    """A few steps of one sample, by several threads: after each stage they wait for each other. And one step alone."""
    name, x, size = context.name, context.input_type, math.prod(context.graph.input.shape)
    calls = []
    for stage in _done(context):
        call = _call(context, stage)
        calls += [call if is_shared(context, stage) else f"if (part == 0) {call}", "NN_WAIT(net, parts);"]
    function = [
        f"static void {name}_block(struct {name} *net, const {x} *x, size_t stride, int steps, int part, int parts)",
        "{",
        "if (part == 0) {",
        "net->from[0] = 0;",
        "for (int t = 1; t < steps; t++) {",
        f"const {x} *now = x + (size_t)t * stride, *before = now - stride;",
        f"const int same = memcmp(now, before, {size}) == 0;",
        "net->from[t] = same ? net->from[t - 1] : t;",
        "}",
        "}",
        *calls,
        *(["if (part == 0) net->step += steps;", "NN_WAIT(net, parts);"] if _counts_steps(context) else []),
        "}",
        "",
    ]
    return function, [f"{name}_block(net, x, 0, 1, 0, 1);"]


def _step(context: Context, longest: int | None) -> list[str]:
    """The stages in turn, where the network may take another step: a host's caller sees to that."""
    calls = [_call(context, stage) for stage in _done(context)]
    if longest is None:
        return calls
    return [f"if (net->step >= {context.name.upper()}_MAX_STEPS) return 0;", *calls, "net->step++;"]


def _whole(context: Context, longest: int | None) -> list[str]:
    """reset, step and answer."""
    name, graph = context.name, context.graph
    x, start = context.input_type, "INT32_MIN" if graph.output.mode == "max" else "0"
    reset = [f"memset(net->{member}, 0, sizeof net->{member});" for member in context.members if member[0] in "il"]
    for node in graph.neurons:
        member = f"v_{context.id(node)}"
        count = context.members[member][1]
        reset.append(f"for (int i = 0; i < {count}; i++) net->{member}[i] = {node.initial};")
    reset.append(f"for (int i = 0; i < {_answers(context)}; i++) net->answer[i] = {start};")
    many = context.target.steps > 1
    block, step = _block(context) if many else ([], _step(context, longest))
    seen, size = ("NN_VISIBLE " if many else ""), math.prod(graph.output.shape)
    return [
        *block,
        f"{seen}void {name}_reset(struct {name} *net)",
        "{",
        *reset,
        *(["net->step = 0;"] if _counts_steps(context) else []),
        "}",
        "",
        f"{seen}int {name}_step(struct {name} *net, const {x} *x)",
        "{",
        *step,
        "return 1;",
        "}",
        "",
        f"{seen}void {name}_answer(const struct {name} *net, int32_t *logits)",
        "{",
        f"memcpy(logits, net->answer, {size} * sizeof *logits);",
        "}",
        "",
    ]


def is_folded(context: Context, stage: Stage) -> bool:
    """Whether a stage is a flatten that its readers read through."""
    return isinstance(stage.head, IntFlatten) and not stage.stored and not stage.tail


def _host(context: Context) -> list[str]:
    """Whole samples `first` to `last` - 1 of x [T, N, ...]; the answers into logits [N, ...] or [T, N, ...]."""
    name, graph, x = context.name, context.graph, context.input_type
    size, count = math.prod(graph.input.shape), math.prod(graph.output.shape)
    steps, upper = context.target.steps, name.upper()
    by_step = graph.output.mode == "steps"
    out = (
        f"for (int k = 0; k < some; k++) memcpy(logits + ((t + k) * samples + n) * {count}, net->answer + k * {count}, "
        f"{count} * sizeof *logits);"
    )
    trace = [
        f"#ifdef {upper}_TRACE",
        "net->samples = (size_t)samples;",
        f"for (int k = 0; k < {len(graph.neurons)}; k++) {{",
        "net->spikes[k] = spikes && spikes[k] ? spikes[k] + (t * samples + n) * sizes[k] : 0;",
        "net->membranes[k] = membranes && membranes[k] ? membranes[k] + (t * samples + n) * sizes[k] : 0;",
        "}",
        "#endif",
    ]
    trace = trace if graph.neurons else ["(void)spikes; (void)membranes; (void)sizes;"]
    whole = f"memcpy(logits + n * {count}, net->answer, {count} * sizeof *logits);"
    return [
        f"NN_VISIBLE size_t {name}_size(void) {{ return sizeof(struct {name}); }}",
        f"NN_VISIBLE void {name}_tables(struct {name} *net, const unsigned char *tables) {{ net->tables = tables; }}",
        "/* 0: each synapse as fits what it reads; 1: lists alone; 2: dense where that exists */",
        f"NN_VISIBLE void {name}_form(struct {name} *net, int form) {{ net->form = form; }}",
        f"#ifdef {upper}_TRACE",
        "/* 1: spikes are written as they lie in memory, maps with the channels last */",
        f"NN_VISIBLE void {name}_as_stored(struct {name} *net, int as_stored) {{ net->as_stored = as_stored; }}",
        "#endif",
        "",
        f"NN_VISIBLE void {name}_run(struct {name} *net, const {x} *x, int64_t steps, int64_t samples,",
        "int64_t first, int64_t last, int32_t *logits, uint8_t **spikes, int32_t **membranes, const int64_t *sizes,",
        "int part, int parts)",
        "{",
        "for (int64_t n = first; n < last; n++) {",
        f"if (part == 0) {name}_reset(net);",
        f"for (int64_t t = 0; t < steps; t += {steps}) {{",
        f"const int some = steps - t < {steps} ? (int)(steps - t) : {steps};",
        "if (part == 0) {",
        *trace,
        "}",
        f"{name}_block(net, x + (t * samples + n) * {size}, (size_t)samples * {size}, some, part, parts);",
        *([f"if (part == 0) {out}"] if by_step else []),
        "}",
        *([] if by_step else [f"if (part == 0) {whole}"]),
        "}",
        "}",
        "",
    ]
