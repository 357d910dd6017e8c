"""Where a neuron stands: the text of its module or function, and of its state in the network around it."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.styles_neurons import NeuronStyle, Values
from tests.support.styles_plan import Layer, Plan
from tests.support.styles_steps import Names, output_text, step_lines

STATE_WORDS = {"v": "mem", "s": "spk", "i": "syn"}


def neuron_text(plan: Plan) -> str:
    """The class `LIF` or the function `lif`; nothing where the neuron stands in the network's forward."""
    match plan.container:
        case "module":
            return "\n".join(_module(plan, _sequence_body(plan, "self.{}".format), "x"))
        case "function" if plan.major == "sequence":
            arguments = ", ".join(("x", *_number_names(plan)))
            return "\n".join([f"def lif({arguments}):", *_indented(_sequence_body(plan, str))])
        case "function" | "update":
            return "\n".join(_step_function(plan))
        case "explicit":
            return "\n".join(_module(plan, _explicit_body(plan.neuron), "x, state=None"))
        case "hidden":
            return "\n".join(_hidden(plan))
        case "inline":
            return ""


def numbers_given(plan: Plan, layer: Layer, *, keywords: bool) -> str:
    """The numbers of a layer's neuron, as they are handed to its module (keywords) or function."""
    assert layer.numbers is not None
    if not keywords:
        return ", ".join(number_in_network(plan, layer, name) for name in layer.numbers.values)
    given = [f"{name}={_written(value)}" for name, value in layer.numbers.values.items()]
    if any(isinstance(value, tuple) for value in layer.numbers.values.values()):
        given.append(f"shape={(-1, *[1] * (len(layer.shape) - 1))}")
    return ", ".join(given)


def number_in_network(plan: Plan, layer: Layer, name: str) -> str:
    """A number as the network's forward names it: an attribute, or as it is."""
    assert layer.numbers is not None
    if plan.numbers_as == "attribute" or name in layer.numbers.learned:
        return f"self.{name}{plan.layers.index(layer) + 1}"
    value = layer.numbers.values[name]
    assert isinstance(value, float)
    return repr(value) if value >= 0 else f"({value!r})"


def layer_number(plan: Plan, layer: Layer, name: str) -> str:
    """What that attribute of the network is."""
    assert layer.numbers is not None
    value = layer.numbers.values[name]
    if name not in layer.numbers.learned:
        return _written(value)
    view = f".view({', '.join(('-1', *['1'] * (len(layer.shape) - 1)))})" if isinstance(value, tuple) else ""
    return f"nn.Parameter(torch.tensor({_written(value)}){view})"


def state_setup(plan: Plan) -> list[str]:
    """The states of all neurons at the start of a network that walks through the steps itself."""
    if plan.container == "hidden":
        return [f"self.lif{plan.layers.index(layer) + 1}.{plan.reset_name}()" for layer in plan.spiking]
    if plan.container == "explicit":
        return _made_empty(plan, ["state"]) + [f"{place(plan, layer, 'state')} = None" for layer in plan.spiking]
    words = [STATE_WORDS[state] for state in plan.neuron.states]
    lines = _made_empty(plan, words)
    for layer in plan.spiking:
        for state in plan.neuron.states:
            lines.append(f"{place(plan, layer, STATE_WORDS[state])} = {_at_start(plan, layer, state)}")
    return lines


def place(plan: Plan, layer: Layer, word: str) -> str:
    """Where a layer's state of that name is kept."""
    index = plan.layers.index(layer)
    match plan.states_in:
        case "locals":
            return f"{word}{index + 1}"
        case "list":
            return f"{word}[{index}]"
        case "dict":
            return f"{word}['{layer.name}']"
        case "attributes":
            return f"self.{word}_{layer.name}"


def step_inline(plan: Plan, index: int, layer: Layer) -> list[str]:
    """One step of a layer's neuron in the network's forward: x is the current, then the spikes."""
    if plan.container == "explicit":
        state = place(plan, layer, "state")
        return [f"x, {state} = self.lif{index + 1}(x, {state})"]
    states = {state: place(plan, layer, STATE_WORDS[state]) for state in plan.neuron.states}
    if plan.container in ("function", "update"):
        layers = f"self.{layer.name}, " if plan.container == "update" else ""
        kept = ", ".join(states.values())
        return [f"x, {kept} = lif({layers}x, {kept}, {numbers_given(plan, layer, keywords=False)})"]
    names = Names(
        x="x",
        v=states["v"],
        s=states.get("s", f"s{index + 1}"),
        i=states.get("i", ""),
        number=lambda name: number_in_network(plan, layer, name),
    )
    start = []
    if plan.major == "step" and plan.neuron.start == "zeros":
        fills = [f"    {states[state]} = {_like(plan.neuron, names, state, 'x')}" for state in states]
        start = [f"if {names.v} is None:", *fills]
    return [*start, *step_lines(plan.neuron, names), f"x = {output_text(plan.neuron, names)}"]


# ------------------------------------------------------------------ modules and functions


def sequence_inline(plan: Plan, layer: Layer) -> list[str]:
    """All steps of a layer's neuron in the network's forward: x is the sequence of currents, then that of spikes."""
    *lines, last = _sequence_body(plan, lambda name: number_in_network(plan, layer, name))
    return [*lines, last.replace("return", "x =")]


def _sequence_body(plan: Plan, number: Callable[[str], str]) -> list[str]:
    """All steps of the sequence x, along the axis of time."""
    style, inner = plan.neuron, plan.inner
    axis = {"TN": 0, "NT": 1, "last": -1, "folded_TN": 0, "folded_NT": 1}[inner]
    at = {0: "[t]", 1: "[:, t]", -1: "[..., t]"}[axis]
    names = Names("current", "v", "s", "i", number)
    lines = []
    if inner.startswith("folded"):
        lines.append(f"x = x.reshape({'STEPS, -1' if inner == 'folded_TN' else '-1, STEPS'}, *x.shape[1:])")
    first = f"x{at.replace('t]', '0]')}"
    lines += [f"{state} = {_start_text(style, names, state, first)}" for state in style.states]
    written = plan.collect in ("zeros", "empty_like")
    lines.append(
        f"out = torch.{'zeros_like' if plan.collect == 'zeros' else 'empty_like'}(x)" if written else "out = []"
    )
    lines += _walk(plan, axis, at, counted=written)
    lines += _indented(step_lines(style, names))
    output = output_text(style, names)
    lines.append(f"    out{at} = {output}" if written else f"    out.append({output})")
    joined = {
        "stack": f"torch.stack(out, dim={axis})",
        "cat": f"torch.cat([one.unsqueeze({axis}) for one in out], dim={axis})",
    }.get(plan.collect, "out")
    return [*lines, f"return {joined}{'.flatten(0, 1)' if inner.startswith('folded') else ''}"]


def _walk(plan: Plan, axis: int, at: str, *, counted: bool) -> list[str]:
    if plan.walk == "index" or plan.neuron.planted:
        steps = "STEPS" if plan.fixed_steps else f"x.shape[{axis}]"
        return [f"for t in range({steps}):", f"    current = x{at}"]
    steps = "x" if plan.walk == "iterate" and axis == 0 else f"x.unbind({axis})"
    return [f"for t, current in enumerate({steps}):" if counted else f"for current in {steps}:"]


def _module(plan: Plan, body: list[str], arguments: str) -> list[str]:
    lines = ["class LIF(nn.Module):", *_constructor(plan), "", f"    def forward(self, {arguments}):"]
    return lines + _indented(_indented(body))


def _constructor(plan: Plan) -> list[str]:
    numbers = plan.spiking[0].numbers
    assert numbers is not None
    by_channel = any(isinstance(value, tuple) for value in numbers.values.values())
    arguments = ", ".join(("self", *_number_names(plan), *(["shape"] if by_channel else [])))
    lines = [f"    def __init__({arguments}):", "        super().__init__()"]
    for name, value in numbers.values.items():
        made = name
        if name in numbers.learned:
            made = f"nn.Parameter(torch.tensor({name}){'.view(shape)' if isinstance(value, tuple) else ''})"
        lines.append(f"        self.{name} = {made}")
    return lines


def _explicit_body(style: NeuronStyle) -> list[str]:
    names = Names("x", "v", "s", "i", "self.{}".format)
    kept = ", ".join(style.states)
    starts = [f"    {state} = {_start_text(style, names, state, 'x')}" for state in style.states]
    lines = ["if state is None:", *starts, "else:", f"    {kept} = state"]
    returned = f"({kept})" if len(style.states) > 1 else kept
    return [*lines, *step_lines(style, names), f"return {output_text(style, names)}, {returned}"]


def _step_function(plan: Plan) -> list[str]:
    style = plan.neuron
    names = Names("x", "v", "s", "i", "{}".format)
    kept = ", ".join(style.states)
    layer = "layer, " if plan.container == "update" else ""
    lines = [f"def lif({layer}x, {kept}, {', '.join(_number_names(plan))}):"]
    called = ["x = layer(x)"] if layer else []
    return lines + _indented([*called, *step_lines(style, names), f"return {output_text(style, names)}, {kept}"])


def _hidden(plan: Plan) -> list[str]:
    style = plan.neuron
    kept = {state: f"self.{state}" for state in style.states}
    names = Names("x", "self.v", kept.get("s", "s"), kept.get("i", "i"), "self.{}".format)
    resets = [f"{kept[state]} = {_number_start(style, names, state)}" for state in style.states]
    body = []
    if style.start == "zeros":
        fills = [f"    {kept[state]} = {_like(style, names, state, 'x')}" for state in style.states]
        body = ["if self.v is None:", *fills]
    body += [*step_lines(style, names), f"return {output_text(style, names)}"]
    constructor = [*_constructor(plan), f"        self.{plan.reset_name}()", ""]
    reset = [f"    def {plan.reset_name}(self):", *_indented(_indented(resets)), ""]
    forward = ["    def forward(self, x):", *_indented(_indented(body))]
    return ["class LIF(nn.Module):", *constructor, *reset, *forward]


# ------------------------------------------------------------------ the start of a state


def _start_text(style: NeuronStyle, names: Names, state: str, like: str) -> str:
    return _like(style, names, state, like) if style.start == "zeros" else _number_start(style, names, state)


def _like(style: NeuronStyle, names: Names, state: str, like: str) -> str:
    if state == "v" and style.initial == "value":
        return f"torch.full_like({like}, {names.number('v0')})"
    if style.cast == "float":
        return f"torch.zeros({like}.shape, device={like}.device)"
    return f"torch.zeros_like({like})"


def _number_start(style: NeuronStyle, names: Names, state: str) -> str:
    """A state before it is a tensor."""
    if style.start in ("zeros", "none"):
        return "None"
    return names.number("v0") if state == "v" and style.initial == "value" else "0.0"


def _at_start(plan: Plan, layer: Layer, state: str) -> str:
    """A state in the network: its shape is known there."""
    style = plan.neuron
    names = Names("", "", "", "", lambda name: number_in_network(plan, layer, name))
    if style.start != "zeros" or plan.major == "step":
        return _number_start(style, names, state)
    shape = ", ".join(("batch", *map(str, layer.shape)))
    dtype = "" if style.cast == "float" else ", dtype=x.dtype"
    if state == "v" and style.initial == "value":
        return f"torch.full(({shape}), {names.number('v0')}, device=x.device{dtype})"
    return f"torch.zeros({shape}, device=x.device{dtype})"


def _made_empty(plan: Plan, words: list[str]) -> list[str]:
    if plan.states_in not in ("list", "dict"):
        return []
    return [f"{word} = {'{}' if plan.states_in == 'dict' else f'[None] * {len(plan.layers)}'}" for word in words]


def _number_names(plan: Plan) -> list[str]:
    numbers = plan.spiking[0].numbers
    assert numbers is not None
    return list(numbers.values)


def _written(value: Values) -> str:
    return repr(value) if isinstance(value, float) else repr(list(value))


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
