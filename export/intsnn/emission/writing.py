"""The functions of one stage as C."""

from __future__ import annotations

from dataclasses import dataclass

from intsnn.arithmetic import Bounds
from intsnn.emission.context import Context
from intsnn.emission.indexed import head_lines
from intsnn.emission.lines import last_store, line_function
from intsnn.emission.listed import list_lines, listed_sums
from intsnn.emission.relayout import Read, read_as
from intsnn.emission.segments import reads_input_only
from intsnn.emission.stages import Stage, read_names
from intsnn.emission.storage import Store
from intsnn.emission.sums import Sums, block_size, sums_of, sums_pointer
from intsnn.emission.text import loop, row_major
from intsnn.emission.walked import grouped_sums, walked_sums
from intsnn.emission.windows import Axis
from intsnn.graph import IntInput, IntLinear
from intsnn.graph.bounds import recurrent_bounds

_PIECE = 256  # values of a row that a stage without a synapse takes at a time


def stage_functions(context: Context, stage: Stage) -> list[str]:
    """Every function of a stage; the last one does the stage, over the steps of a block."""
    if stage.synapse is not None:
        return _synaptic_stage(context, stage)
    if stage.head is not None:
        return _head_stage(context, stage)
    return _plain_stage(context, stage)


def _head_stage(context: Context, stage: Stage) -> list[str]:
    """A node alone: input, pool, product, move, readout."""
    if not stage.stored and stage.head is not context.graph.output:
        return []  # a flatten that its readers read through
    many = context.target.steps > 1
    parameters = [context.net]
    lines = []
    if isinstance(stage.head, IntInput):
        kind = context.input_type
        parameters += [f"const {kind} *frames", "size_t stride"] if many else [f"const {kind} *x"]
        lines = [f"const {kind} *x = frames + (size_t)t * stride;"] if many else []
    parameters += ["int steps"] if many else []
    shared = is_shared(context, stage)
    parameters += ["int part", "int parts"] if shared else []
    return [
        f"NN_ALONE void {context.title(stage)}({', '.join(parameters)})",
        "{",
        *context.steps(),
        *(["if (t % parts != part) continue;"] if shared else []),
        *lines,
        *head_lines(context, stage),
        "}",
        "}",
        "",
    ]


def _plain_stage(context: Context, stage: Stage) -> list[str]:
    """Nodes that work value by value on stored tensors; with a recurrent neuron one step after the other."""
    store = context.stores[stage.tail[-1].name]
    reads, turned = _reads(context, stage, store)
    back = _recurrent(context, stage)
    if back is not None:
        block = block_size(context.target, [back.sums])
        functions = [*back.functions(context, stage, block)]
        functions += line_function(context, stage, store, reads, longest=block, sums=None)
        body = _recurrent_steps(context, stage, back, None, turned, block)
        return [*functions, *_stage_head(context, stage), *body, "}", ""]
    longest = min(_PIECE, store.inner)
    functions = line_function(context, stage, store, reads, longest=longest, sums=None)
    body = [loop("row", store.rows), *_pieces(context, stage, store.inner, longest), "}"]
    return [*functions, *_stage_head(context, stage), *context.steps(), *turned, *body, "}", "}", ""]


def _synaptic_stage(context: Context, stage: Stage) -> list[str]:
    """A synapse with what follows it, block by block of its output channels."""
    node = stage.synapse
    assert node is not None
    synapse = _forward(context, stage)
    store = context.stores[node.name]
    reads, turned = _reads(context, stage, store)
    back = _recurrent(context, stage)
    block = block_size(context.target, [synapse.sums, *([back.sums] if back else [])])
    functions = [*synapse.functions(context, stage, block), *(back.functions(context, stage, block) if back else [])]
    kind = synapse.sums.element_for(context.target)
    functions += line_function(context, stage, store, reads, longest=block, sums=f"{kind}_t")
    if back is not None:
        body = _recurrent_steps(context, stage, back, synapse, turned, block)
    elif stage.index in context.gathered:
        functions += _gathered_functions(context, stage, synapse, block)
        body = _gathered_steps(context, stage, synapse, turned, block)
    else:
        body = _synaptic_steps(context, stage, synapse, turned, block)
    return [*functions, *_stage_head(context, stage), *body, "}", ""]


@dataclass(frozen=True)
class _Synapse:
    """A synapse with what it reads: a copy in another order first, or as it lies. once: it sees the input alone."""

    sums: Sums
    read: Read
    turned: list[str]
    once: bool

    def listed(self, context: Context) -> bool:
        """Whether its input is listed."""
        return context.target.has_lists and self.sums.groups == 1

    def before(self, context: Context, stage: Stage, block: int) -> list[str]:
        """What must be done at step t before its sums."""
        lists = list_lines(context, stage, self.sums, self.read, block) if self.listed(context) else []
        return [*self.turned, *lists]

    def functions(self, context: Context, stage: Stage, block: int) -> list[str]:
        """Its C functions."""
        if self.sums.groups > 1:
            return grouped_sums(context, self.sums, self.read)
        if self.listed(context):
            return listed_sums(context, stage, self.sums, block)
        return walked_sums(context, self.sums, self.read, block)

    def at_place(self, context: Context, block: int, variable: str, *, step: str = "t") -> list[str]:
        """The sums of one place and block, at a step, as `variable`."""
        kind, sums = self.sums.element_for(context.target), self.sums
        if self.listed(context):
            pointer = sums_pointer(context, sums, block, const=True, step=step)
            return [f"const nn_{kind} *{variable} = {pointer} + row * {block};"]
        places = "".join(f", {axis.out}" for axis in sums.axes)
        return [f"{kind}_t {variable}[{block}];", f"{sums.name}_sums(net, t, block{places}, {variable});"]


def _synaptic_steps(context: Context, stage: Stage, synapse: _Synapse, turned: list[str], block: int) -> list[str]:
    """All steps of a block of channels, then the next block."""
    sums, blocks = synapse.sums, synapse.sums.blocks(block)
    before = synapse.before(context, stage, block)
    if synapse.once and synapse.listed(context):
        before = ["if (net->from[t] == t) {", *before, "}"]
    filled = []
    if synapse.listed(context):
        filled = [f"{sums.name}_sums(net, block, 0, steps, begin, end);"]
        if synapse.once:
            call = f"{sums.name}_sums(net, block, t, t + 1, begin, end);"
            filled = [*context.steps(), f"if (net->from[t] == t) {call}", "}"]
    step = "net->from[t]" if synapse.once else "t"
    line = [*synapse.at_place(context, block, "sums", step=step), *_calls(stage, context, sums, block, "sums")]
    first = [*context.steps(), *before, *turned, "}"] if before or turned else []
    if context.target.steps == 1:
        return [*first, loop("block", blocks), *filled, *context.steps(), *_over_places(sums, line), "}", "}"]
    if first:
        first = [first[0], "if (t % parts != part) continue;", *first[1:], "NN_WAIT(net, parts);"]
    mine = loop("block", blocks, start="part", step="parts")
    if sums.shared:
        size = sums.shared.outputs
        first.append(f"const int begin = {size} * part / parts, end = {size} * (part + 1) / parts;")
        mine = loop("block", blocks)
    else:
        first.append("const int begin = 0, end = 0; (void)begin; (void)end;")
    return [*first, mine, *filled, *context.steps(), *_over_places(sums, line, shared=sums.shared), "}", "}"]


def _gathered_functions(context: Context, stage: Stage, synapse: _Synapse, block: int) -> list[str]:
    """`<stage>_listed`: the lists of the steps of a block; `<stage>_gathered`: the sums of all steps that were kept."""
    title, blocks = context.title(stage), synapse.sums.blocks(block)
    return [
        f"NN_ALONE void {title}_listed({context.net}, int steps, int part, int parts)",
        "{",
        *context.steps(),
        "if (t % parts != part) continue;",
        *synapse.before(context, stage, block),
        "}",
        "}",
        "",
        f"NN_ALONE void {title}_gathered({context.net}, int vectors, int part, int parts)",
        "{",
        loop("block", blocks, start="part", step="parts"),
        f"{synapse.sums.name}_sums(net, block, 0, vectors, 0, 0);",
        "}",
        "}",
        "",
    ]


def _gathered_steps(context: Context, stage: Stage, synapse: _Synapse, turned: list[str], block: int) -> list[str]:
    """What follows the sums, of the steps of a block."""
    sums = synapse.sums
    line = [*synapse.at_place(context, block, "sums"), *_calls(stage, context, sums, block, "sums")]
    first = [*context.steps(), "if (t % parts != part) continue;", *turned, "}", "NN_WAIT(net, parts);"]
    mine = loop("block", sums.blocks(block), start="part", step="parts")
    return [*(first if turned else []), mine, *context.steps(), *_over_places(sums, line), "}", "}"]


def _recurrent_steps(
    context: Context, stage: Stage, back: _Synapse, synapse: _Synapse | None, turned: list[str], block: int
) -> list[str]:
    """Step after step, since a step reads the spikes of all channels of the one before."""
    blocks = back.sums.blocks(block)
    parts = [back, *([synapse] if synapse else [])]
    filled = [
        f"{part.sums.name}_sums(net, block, t, t + 1, 0, {part.sums.shared.outputs if part.sums.shared else 0});"
        for part in parts
        if part.listed(context)
    ]
    own, wide = back.at_place(context, block, "own"), [f"int32_t back[{block}];"]
    wide.append(f"for (int i = 0; i < {block}; i++) back[i] = own[i];")
    line = [*(synapse.at_place(context, block, "sums") if synapse else []), *own, *wide]
    line += _calls(stage, context, back.sums, block, "sums, back" if synapse else "back")
    node = stage.recurrent
    assert node is not None
    kept = f"net->last_{context.id(node)}"
    return [
        *context.steps(),
        *(each for part in parts for each in part.before(context, stage, block)),
        *turned,
        loop("block", blocks),
        *filled,
        *_over_places((synapse or back).sums, line),
        "}",
        f"memcpy({kept}, {context.scratch_pointer(f'next_{context.id(node)}')}, sizeof {kept});",
        "}",
    ]


def _over_places(sums: Sums, body: list[str], *, shared: Axis | None = None) -> list[str]:
    """The loops over the output places around lines, with the `row`; over a thread's own of a `shared` axis."""
    row = row_major([axis.out for axis in sums.axes], [axis.outputs for axis in sums.axes])
    heads = [axis.share if axis is shared else loop(axis.out, axis.outputs) for axis in sums.axes]
    return [*heads, f"const int row = {row};", *body, *("}" for _ in heads)]


def _calls(stage: Stage, context: Context, sums: Sums, block: int, given: str) -> list[str]:
    """The call of the line for a block; the last block may be shorter."""
    blocks = sums.blocks(block)
    rest = sums.outputs - (blocks - 1) * block
    call = f"{context.title(stage)}_line(net, t, row, block * {block}, {{}}, {given});"
    if rest == block:
        return [call.format(block)]
    if blocks == 1:
        return [call.format(rest)]
    return [f"if (block < {blocks - 1}) {call.format(block)}", f"else {call.format(rest)}"]


def _pieces(context: Context, stage: Stage, inner: int, piece: int) -> list[str]:
    name = f"{context.title(stage)}_line"
    if inner <= piece:
        return [f"{name}(net, t, row, 0, {inner});"]
    return [loop("at", inner, step=piece), f"{name}(net, t, row, at, nn_smaller({piece}, {inner} - at));", "}"]


def _recurrent(context: Context, stage: Stage) -> _Synapse | None:
    """The recurrent synapse of a stage, over the neuron's spikes of the step before."""
    node = stage.recurrent
    if node is None:
        return None
    store = last_store(node, context.stores[node.name])
    own = context.id(node)
    read = Read(store, f"net->last_{own}")
    interval, spikes = recurrent_bounds(node).accumulator.hull, Bounds(0, node.max_spikes)
    sums = sums_of(f"{context.title(stage)}_back", node.name, node.recurrent_synapse, store, interval, spikes)
    context.ask(stage, f"next_{own}", *store.held)
    return _Synapse(sums, read, [], once=False)


def _forward(context: Context, stage: Stage) -> _Synapse:
    """The synapse at the head of a stage."""
    node = stage.synapse
    assert node is not None
    name = read_names(context.graph, node)[0]
    rowwise = isinstance(node, IntLinear) and len(node.shape) > 1
    read, turned = read_as(context, stage, name, "first" if rowwise else "last")
    proved = context.proved
    sums = sums_of(context.title(stage), node.name, node, read.store, proved[node.name].hull, proved[name].hull)
    once = context.target.steps > 1 and reads_input_only(context.graph, name)
    return _Synapse(sums, read, turned, once)


def is_shared(context: Context, stage: Stage) -> bool:
    """Whether several threads share the work of a stage; else the first does it: what has a state, but no channels."""
    alone = stage.head is None or stage.head is context.graph.output or stage.recurrent is not None
    return context.target.steps > 1 and not alone


def _stage_head(context: Context, stage: Stage) -> list[str]:
    parameters = [context.net, *(["int steps"] if context.target.steps > 1 else [])]
    parameters += ["int part", "int parts"] if is_shared(context, stage) else []
    words = ", ".join(f"{node.name}" for node in stage.nodes).replace("*/", "* /")
    return [f"/* {words} */", f"NN_ALONE void {context.title(stage)}({', '.join(parameters)})", "{"]


def _reads(context: Context, stage: Stage, store: Store) -> tuple[dict[str, Read], list[str]]:
    """The stored tensors that the tail reads, in the order of the stage, and the copies that this takes."""
    own = {node.name for node in stage.nodes}
    found: dict[str, Read] = {}
    copies: list[str] = []
    for tensor in dict.fromkeys(name for node in stage.tail for name in node.inputs if name not in own):
        found[tensor], turned = read_as(context, stage, tensor, store.order)
        copies += turned
    return found, copies
