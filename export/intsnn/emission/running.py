"""The functions that run a network as C: reset, step and answer; on a host whole samples too.

Where layers are gathered (`segments`), all samples of a thread go through a segment before the next one.
"""

from __future__ import annotations

import math

from intsnn.emission.context import Context
from intsnn.emission.segments import Kept, segment
from intsnn.emission.stages import Stage
from intsnn.emission.targets import MICROCONTROLLER
from intsnn.emission.writing import is_shared
from intsnn.graph import IntFlatten, IntInput


def stream_functions(context: Context, longest: int | None) -> list[str]:
    """reset, step and answer."""
    name, graph, x = context.name, context.graph, context.input_type
    many, several = context.target.steps > 1, range(_segments(context) if context.gathered else 0)
    block, step = (_blocks(context), _host_step(context)) if many else ([], _step(context, longest))
    seen, size = ("NN_VISIBLE " if many else ""), math.prod(graph.output.shape)
    return [
        *block,
        *(line for k in several for line in _rest(context, k)),
        f"{seen}void {name}_reset(struct {name} *net)",
        "{",
        *([f"{name}_rest{k}(net);" for k in several] if several else _at_rest(context, 0)),
        *(["net->step = 0;"] if counts_steps(context) else []),
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


def run_functions(context: Context, waiting: Kept) -> list[str]:
    """Whole samples `first` to `last` - 1 of x [T, N, ...]; the answers into logits [N, ...] or [T, N, ...]."""
    name, x, upper = context.name, context.input_type, context.name.upper()
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
        *([] if context.graph.neurons else ["(void)spikes; (void)membranes; (void)sizes;"]),
        *_run_groups(context, waiting),
        "}",
        "",
    ]


def _run_groups(context: Context, waiting: Kept) -> list[str]:
    """As many samples as can wait, or so many steps of one: all of them through a segment, then the next segment."""
    if not waiting.offsets:
        return ["const int64_t n0 = first, n1 = last, t0 = 0, t1 = steps;", *_run_segment(context, 0)]
    lines = [
        f"const int64_t most = {waiting.vectors}, many = steps < most ? most / steps : 1;",
        "for (int64_t n0 = first; n0 < last; n0 += many)",
        "for (int64_t t0 = 0; t0 < steps; t0 += most) {",
        "const int64_t n1 = last - n0 < many ? last : n0 + many, t1 = steps - t0 < most ? steps : t0 + most;",
        *_run_segment(context, 0),
    ]
    for k in range(1, _segments(context)):
        lines += [
            "if (part == 0) net->vector = 0;",
            "NN_WAIT(net, parts);",
            f"{_gathering(context, k)}(net, (int)((n1 - n0) * (t1 - t0)), part, parts);",
            "NN_WAIT(net, parts);",
            *_run_segment(context, k),
        ]
    return [*lines, "}"]


def _run_segment(context: Context, k: int) -> list[str]:
    """Steps t0 to t1 - 1 of samples n0 to n1 - 1 through a segment; the last one gives the answers."""
    name, graph, block = context.name, context.graph, context.target.steps
    size, count = math.prod(graph.input.shape), math.prod(graph.output.shape)
    now, whole = [], []
    if k == len(context.gathered):
        copy = f"memcpy(logits + {{}} * {count}, net->answer{{}}, {count} * sizeof *logits);"
        if graph.output.mode == "steps":
            each = copy.format("((t + i) * samples + n)", f" + i * {count}")
            now = ["if (part == 0)", f"for (int i = 0; i < some; i++) {each}"]
        else:
            whole = [f"if (part == 0 && t1 == steps) {copy.format('n', '')}"]
    return [
        "for (int64_t n = n0; n < n1; n++) {",
        f"if (part == 0 && t0 == 0) {name}_{f'rest{k}' if context.gathered else 'reset'}(net);",
        f"for (int64_t t = t0; t < t1; t += {block}) {{",
        f"const int some = t1 - t < {block} ? (int)(t1 - t) : {block};",
        "if (part == 0) {",
        *(_run_trace(context) if graph.neurons else []),
        *(["net->step = (int32_t)t;"] if counts_steps(context) else []),
        *(["net->vector = (int32_t)((n - n0) * (t1 - t0) + t - t0);"] if context.kept else []),
        "}",
        f"{name}_block{k}(net, x + (t * samples + n) * {size}, (size_t)samples * {size}, some, part, parts);",
        *now,
        "}",
        *whole,
        "}",
    ]


def _run_trace(context: Context) -> list[str]:
    """Where the neurons write what is asked for, from step t of sample n on."""
    return [
        f"#ifdef {context.name.upper()}_TRACE",
        "net->samples = (size_t)samples;",
        f"for (int k = 0; k < {len(context.graph.neurons)}; k++) {{",
        "net->spikes[k] = spikes && spikes[k] ? spikes[k] + (t * samples + n) * sizes[k] : 0;",
        "net->membranes[k] = membranes && membranes[k] ? membranes[k] + (t * samples + n) * sizes[k] : 0;",
        "}",
        "#endif",
    ]


def _host_step(context: Context) -> list[str]:
    """One step of one sample, segment after segment."""
    lines = ["net->vector = 0;"] if context.kept else []
    for k in range(_segments(context)):
        lines += [f"{_gathering(context, k)}(net, 1, 0, 1);"] if k else []
        lines.append(f"{context.name}_block{k}(net, x, 0, 1, 0, 1);")
    return [*lines, *(["net->step++;"] if counts_steps(context) else [])]


def _step(context: Context, longest: int | None) -> list[str]:
    """The stages in turn, where the network may take another step: a host's caller sees to that."""
    calls = [_call(context, stage) for stage in _done(context)]
    if longest is None:
        return calls
    return [f"if (net->step >= {context.name.upper()}_MAX_STEPS) return 0;", *calls, "net->step++;"]


def _blocks(context: Context) -> list[str]:
    """For each segment a few steps of one sample, by several threads: after each stage they wait for each other."""
    return [line for k in range(_segments(context)) for line in _block(context, k)]


def _block(context: Context, k: int) -> list[str]:
    name, x, size = context.name, context.input_type, math.prod(context.graph.input.shape)
    calls = []
    for stage in _done(context):
        if segment(context.gathered, stage.index) == k:
            call = _call(context, stage)
            calls += [call if is_shared(context, stage) else f"if (part == 0) {call}", "NN_WAIT(net, parts);"]
        elif stage.index in context.gathered and segment(context.gathered, stage.index) == k + 1:
            calls += [f"{context.title(stage)}_listed(net, steps, part, parts);", "NN_WAIT(net, parts);"]
    return [
        f"static void {name}_block{k}(struct {name} *net, const {x} *x, size_t stride, int steps, int part, int parts)",
        "{",
        "if (part == 0) {",
        "net->from[0] = 0;",
        "for (int t = 1; t < steps; t++) {",
        f"const {x} *now = x + (size_t)t * stride, *before = now - stride;",
        f"const int same = memcmp(now, before, {size}) == 0;",
        "net->from[t] = same ? net->from[t - 1] : t;",
        "}",
        "}",
        "NN_WAIT(net, parts);",
        *calls,
        "}",
        "",
    ]


def _call(context: Context, stage: Stage) -> str:
    """The call of a stage."""
    many, given = context.target.steps > 1, ["net"]
    if isinstance(stage.head, IntInput):
        given += ["x", "stride"] if many else ["x"]
    given += ["steps"] if many else []
    given += ["part", "parts"] if is_shared(context, stage) else []
    return f"{context.title(stage)}({', '.join(given)});"


def _done(context: Context) -> list[Stage]:
    """The stages that do something."""
    return [stage for stage in context.stages if not _is_folded(context, stage)]


def _is_folded(context: Context, stage: Stage) -> bool:
    """Whether a stage is a flatten that its readers read through."""
    return isinstance(stage.head, IntFlatten) and not stage.stored and not stage.tail


def _gathering(context: Context, k: int) -> str:
    """The name of the function that makes the sums with which segment k begins."""
    first = sorted(context.gathered)[k - 1]
    return f"{context.title(context.stages[first])}_gathered"


def _segments(context: Context) -> int:
    return len(context.gathered) + 1


def _rest(context: Context, k: int) -> list[str]:
    """The function that puts a segment to rest."""
    return [f"static void {context.name}_rest{k}(struct {context.name} *net)", "{", *_at_rest(context, k), "}", ""]


def _at_rest(context: Context, k: int) -> list[str]:
    """The state of a segment to rest."""
    graph, start = context.graph, "INT32_MIN" if context.graph.output.mode == "max" else "0"
    own = {node.name for stage in context.stages if segment(context.gathered, stage.index) == k for node in stage.nodes}
    members = [name for name, (_, _, part) in context.members.items() if part in own and name[0] in "il"]
    lines = [f"memset(net->{member}, 0, sizeof net->{member});" for member in members]
    for node in (node for node in graph.neurons if node.name in own):
        member = f"v_{context.id(node)}"
        lines.append(f"for (int i = 0; i < {context.members[member][1]}; i++) net->{member}[i] = {node.initial};")
    if graph.output.name in own:
        lines.append(f"for (int i = 0; i < {answers(context)}; i++) net->answer[i] = {start};")
    return lines or ["(void)net;"]


def answers(context: Context) -> int:
    """Values that the readout keeps."""
    readout = context.graph.output
    return math.prod(readout.shape) * (context.target.steps if readout.mode == "steps" else 1)


def counts_steps(context: Context) -> bool:
    """Whether the network must know its step: for the norms of each, or to end before a sum overflows."""
    has_end = context.target is MICROCONTROLLER and context.graph.output.mode == "sum"  # on a host the caller counts
    return context.graph.time_steps is not None or has_end
