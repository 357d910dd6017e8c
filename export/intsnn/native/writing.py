"""The functions of one stage as C."""

from __future__ import annotations

from intsnn.graph import IntInput, IntLinear, IntNeuron, IntNode
from intsnn.graph.bounds import recurrent_bounds
from intsnn.native.context import Context
from intsnn.native.indexed import head_lines
from intsnn.native.lines import last_store, line_function
from intsnn.native.relayout import Read, read_as
from intsnn.native.stages import Stage, read_names
from intsnn.native.storage import Store
from intsnn.native.synapses import (
    Sums,
    block_size,
    grouped_sums,
    list_lines,
    listed_sums,
    plain_sums,
    sum_element,
    sums_of,
)
from intsnn.native.text import loop

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
        kind = "int8_t" if context.graph.input.signed else "uint8_t"
        parameters += [f"const {kind} *frames", "size_t stride"] if many else [f"const {kind} *x"]
        lines = [f"const {kind} *x = frames + (size_t)t * stride;"] if many else []
    parameters += ["int steps"] if many else []
    return [
        f"static void {context.title(stage)}({', '.join(parameters)})",
        "{",
        *context.steps(),
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
    recurrent = _recurrent(context, stage)
    block = block_size(context, [recurrent[0]]) if recurrent else min(_PIECE, store.inner)
    functions = list(recurrent[1]) if recurrent else []
    functions += line_function(context, stage, store, reads, longest=block, sums=None)
    body = [loop("row", store.rows), *_pieces(context, stage, store.inner, block, recurrent, ""), "}"]
    if recurrent:
        body = _over_places(context, stage, recurrent[0], block, recurrent, sums=None)
    return [*functions, *_stage_head(context, stage), *context.steps(), *turned, *_before(recurrent), *body,
            *_behind(context, stage), "}", "}", ""]  # fmt: skip


def _synaptic_stage(context: Context, stage: Stage) -> list[str]:
    """A synapse with what follows it, place by place and block by block of its output channels."""
    node = stage.synapse
    assert node is not None
    read, turned = _synapse_read(context, stage)
    sums = sums_of(context.title(stage), node.name, node, read.store, context.proved[node.name].hull)
    store = context.stores[node.name]
    reads, more = _reads(context, stage, store)
    recurrent = _recurrent(context, stage)
    block = block_size(context, [sums, *([recurrent[0]] if recurrent else [])])
    listed = context.target.has_lists and sums.groups == 1
    lists = list_lines(context, stage, sums, read) if listed else []
    functions = list(recurrent[1]) if recurrent else []
    if sums.groups > 1:
        functions += grouped_sums(context, sums, read)
    else:
        functions += listed_sums(context, sums, block) if listed else plain_sums(context, sums, read, block)
    kind = sum_element(context, sums)
    functions += line_function(context, stage, store, reads, longest=block, sums=f"{kind}_t")
    inside = _over_places(context, stage, sums, block, recurrent, sums=sums)
    if recurrent:
        body = [*context.steps(), *turned, *lists, *more, *_before(recurrent), *inside, *_behind(context, stage), "}"]
    elif context.target.steps > 1 and reads_input_only(context, read_names(context.graph, node)[0]):
        once = ["if (net->from[t] == t) {", *lists, "}"] if lists else []
        body = [*context.steps(), *turned, *once, *more, "}", *inside]
    else:
        body = [*context.steps(), *turned, *lists, *more, "}", *inside]
    return [*functions, *_stage_head(context, stage), *body, "}", ""]


def _over_places(
    context: Context,
    stage: Stage,
    geometry: Sums,
    block: int,
    recurrent: tuple[Sums, list[str], list[str]] | None,
    *,
    sums: Sums | None,
) -> list[str]:
    """The loops over blocks, steps and places around sums and line."""
    blocks = -(-geometry.outputs // block)
    places = [loop(axis.out, axis.outputs) for axis in geometry.axes]
    row = ""
    for axis in geometry.axes:
        row = f"({row}) * {axis.outputs} + {axis.out}" if row else axis.out
    at = "".join(f", {axis.out}" for axis in geometry.axes)
    once = sums is not None and not recurrent and context.target.steps > 1
    once = once and reads_input_only(context, read_names(context.graph, stage.nodes[0])[0])
    inner = [f"const int row = {row};"]
    if sums is not None:
        kind = sum_element(context, sums)
        declared = f"{kind}_t sums[{block}];"
        call = f"{sums.name}_sums(net, t, block{at}, sums);"
        inner += [f"if (net->from[t] == t) {call}"] if once else [declared, call]
    if recurrent:
        back = recurrent[0]
        inner += [f"{sum_element(context, back)}_t own[{block}];", f"{back.name}_sums(net, t, block{at}, own);"]
        inner += [f"int32_t back[{block}];", f"for (int i = 0; i < {block}; i++) back[i] = own[i];"]
    inner += _calls(stage, context, geometry.outputs, block, blocks, recurrent, sums)
    around = [loop("block", blocks)]
    if recurrent:
        heads = [*around, *places]
    elif once:
        assert sums is not None
        heads = [*around, *places, f"{sum_element(context, sums)}_t sums[{block}];", *context.steps()]
    else:
        heads = [*around, *context.steps(), *places]
    return [*heads, *inner, *("}" for head in heads if "{" in head)]


def _calls(
    stage: Stage,
    context: Context,
    outputs: int,
    block: int,
    blocks: int,
    recurrent: tuple[Sums, list[str], list[str]] | None,
    sums: Sums | None,
) -> list[str]:
    """The call of the line for a block; the last block may be shorter."""
    more = (", sums" if sums else "") + (", back" if recurrent else "")
    rest = outputs - (blocks - 1) * block
    call = f"{context.title(stage)}_line(net, t, row, block * {block}, {{}}{more});"
    if rest == block:
        return [call.format(block)]
    if blocks == 1:
        return [call.format(rest)]
    return [f"if (block < {blocks - 1}) {call.format(block)}", f"else {call.format(rest)}"]


def _pieces(
    context: Context, stage: Stage, inner: int, piece: int, recurrent: object, more: str
) -> list[str]:
    name = f"{context.title(stage)}_line"
    if inner <= piece:
        return [f"{name}(net, t, row, 0, {inner}{more});"]
    return [
        loop("at", inner, step=piece),
        f"{name}(net, t, row, at, nn_smaller({piece}, {inner} - at){more});",
        "}",
    ]


def _recurrent(context: Context, stage: Stage) -> tuple[Sums, list[str], list[str]] | None:
    """The sums of a recurrent synapse, their functions, and what must be done before a step."""
    node = stage.recurrent
    if node is None:
        return None
    store = last_store(node, context.stores[node.name])
    name, own = f"{context.title(stage)}_back", context.id(node)
    read = Read(store, f"net->last_{own}")
    sums = sums_of(name, node.name, node.recurrent_synapse, store, recurrent_bounds(node).accumulator.hull)
    context.ask(stage, f"next_{own}", "word" if store.is_bits else store.element,
                store.rows * (store.words if store.is_bits else store.inner))  # fmt: skip
    others = [sums]
    if stage.synapse is not None:
        forward, _ = _synapse_read(context, stage)
        proved = context.proved[stage.synapse.name].hull
        others.append(sums_of("", "", stage.synapse, forward.store, proved))
    block = block_size(context, others)
    if sums.groups > 1:
        return sums, grouped_sums(context, sums, read), []
    if not context.target.has_lists:
        return sums, plain_sums(context, sums, read, block), []
    before = list_lines(context, stage, sums, read)
    return sums, listed_sums(context, sums, block), before


def _before(recurrent: tuple[Sums, list[str], list[str]] | None) -> list[str]:
    return recurrent[2] if recurrent else []


def _behind(context: Context, stage: Stage) -> list[str]:
    """The spikes of a step become those of the step before."""
    node = stage.recurrent
    if node is None:
        return []
    own = context.id(node)
    return [f"memcpy(net->last_{own}, {context.scratch_pointer(f'next_{own}')}, sizeof net->last_{own});"]


def _stage_head(context: Context, stage: Stage) -> list[str]:
    parameters = [context.net, *(["int steps"] if context.target.steps > 1 else [])]
    words = ", ".join(f"{node.name}" for node in stage.nodes).replace("*/", "* /")
    return [f"/* {words} */", f"static void {context.title(stage)}({', '.join(parameters)})", "{"]


def _reads(context: Context, stage: Stage, store: Store) -> tuple[dict[str, Read], list[str]]:
    """The stored tensors that the tail reads, in the order of the stage, and the copies that this takes."""
    own = {node.name for node in stage.nodes}
    found: dict[str, Read] = {}
    copies: list[str] = []
    for tensor in dict.fromkeys(name for node in stage.tail for name in node.inputs if name not in own):
        found[tensor], turned = read_as(context, stage, tensor, store.order)
        copies += turned
    return found, copies


def _synapse_read(context: Context, stage: Stage) -> tuple[Read, list[str]]:
    node = stage.synapse
    assert node is not None
    name = read_names(context.graph, node)[0]
    rowwise = isinstance(node, IntLinear) and len(node.shape) > 1
    return read_as(context, stage, name, "first" if rowwise else "last")


def reads_input_only(context: Context, tensor: str) -> bool:
    """Whether a tensor follows from the step's input alone: no neuron stands before it."""
    node = context.graph.node(tensor)
    if isinstance(node, IntNeuron):
        return False
    return all(reads_input_only(context, name) for name in node.inputs)
