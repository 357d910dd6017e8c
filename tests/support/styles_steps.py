"""The text of a neuron's step and of its spike function, from its style. Lines of torch, without indentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.styles_neurons import FACTORS, MOST, NEED_LAST, NeuronStyle


@dataclass(frozen=True)
class Names:
    """What the code calls the current, the states and the numbers."""

    x: str
    v: str
    s: str
    i: str
    number: Callable[[str], str]


def step_lines(style: NeuronStyle, names: Names) -> list[str]:
    """One step: from the current `x` and the state to the spikes in `s` and the next state."""
    lines = [f"last = {names.s}"] if style.planted in NEED_LAST else []
    x = names.x
    if style.synapse != "none":
        lines += _synapse(style, names)
        x = names.i
    lines += _charged(style, names, x)
    if style.floor == "before_fire":
        lines += _floored(names)
    lines += [*_planted_after_charge(style, names, x), *_fired(style, names, x)]
    if style.planted == "refractory":
        lines.append(f"{names.s} = {names.s} * (1 - last)")
    if style.order in ("after", "leak_last"):
        lines += _reset(style, names)
    if style.floor == "after_reset":
        lines += _floored(names)
    if style.order == "leak_last":
        lines.append(f"{names.v} = {names.v} * {_factor(style, names, x)}")
    return _late_synapse(lines) if style.planted == "late_synapse" else lines


def output_text(style: NeuronStyle, names: Names) -> str:
    """What the neuron puts out at the end of a step."""
    if style.planted == "delay":
        return "last"
    return f"{names.s} * {names.number('th')}" if style.height == "threshold" else names.s


def spike_function(style: NeuronStyle) -> str:
    """The class `Fire`, where the style has one."""
    if style.spelling in ("straight", "plain") or style.planted == "tie_channel":
        return ""
    if style.count != "none":
        return _class(("u",), [f"return {_counted(style, 'u')}"])
    direct = style.compared == "direct"
    bound = {"direct": "th", "constant": "THRESH"}.get(style.compared, "0")
    return _class(("u", "th") if direct else ("u",), _compared(style, bound))


def _class(arguments: tuple[str, ...], body: list[str]) -> str:
    zeros = "".join(", None" for _ in arguments[1:])
    lines = [
        "class Fire(torch.autograd.Function):",
        "    @staticmethod",
        f"    def forward(ctx, {', '.join(arguments)}):",
        "        ctx.save_for_backward(u)",
        *(f"        {line}" for line in body),
        "",
        "    @staticmethod",
        "    def backward(ctx, grad):",
        "        (u,) = ctx.saved_tensors",
        f"        return grad * (u.abs() < 1.0).to(grad.dtype){zeros}",
    ]
    return "\n".join(lines)


def _compared(style: NeuronStyle, bound: str) -> list[str]:
    equal = style.comparator == "greater_equal"
    sign = ">=" if equal else ">"
    cast = ".float()" if style.cast == "float" else ".to(u.dtype)"
    gap = "u" if bound == "0" else f"(u - {bound})"
    match style.spelling:
        case "gt":
            return [f"return torch.{'ge' if equal else 'gt'}(u, {bound}){cast}"]
        case "method":
            return [f"return u.{'ge' if equal else 'gt'}({bound}){cast}"]
        case "where":
            return [f"return torch.where(u {sign} {bound}, torch.ones_like(u), torch.zeros_like(u))"]
        case "masked":
            return ["out = torch.zeros_like(u)", f"out[u {sign} {bound}] = 1.0", "return out"]
        case "heaviside":
            return [f"return torch.heaviside({gap}, torch.tensor({float(equal)}, dtype=u.dtype))"]
        case "sign" if equal:
            return [f"return 1.0 - torch.sign(-{gap}).clamp(min=0)"]
        case "sign":
            return [f"return torch.sign({gap}).clamp(min=0)"]
        case _:
            return [f"return (u {sign} {bound}){cast}"]


def _counted(style: NeuronStyle, levels: str) -> str:
    if style.reset_form % 2 and style.count == "floor":
        return f"torch.clamp(torch.floor({levels}), 0, {MOST})"
    return f"torch.{style.count}(torch.clamp({levels}, 0, {MOST}))"


def _synapse(style: NeuronStyle, names: Names) -> list[str]:
    alpha = names.number("alpha")
    new = names.x if style.synapse == "sum" else f"(1 - {alpha}) * {names.x}"
    return [f"{names.i} = {alpha} * {names.i} + {new}"]


def _late_synapse(lines: list[str]) -> list[str]:
    """The membrane takes the synaptic current of the step before: the first line comes last."""
    return [*lines[1:], lines[0]]


def _factor(style: NeuronStyle, names: Names, x: str) -> str:
    number = names.number
    match style.charge:
        case "multiply" | "channel":
            factor = number("decay")
        case "clamped":
            factor = f"{number('decay')}.clamp(0, 1)"
        case "one_minus":
            factor = f"(1 - 1 / {number('tau')})"
        case "sigmoid":
            factor = f"torch.sigmoid({number('w')})"
        case _:
            factor = f"math.exp(-1.0 / {number('tau')})"
    match style.planted:
        case "gate":
            return f"({factor} * torch.sigmoid({x}))"
        case "decay_step":
            return f"({factor} if t != 2 else 0.5 * {factor})"
        case "pixel":
            return f"({factor} * torch.linspace(0.2, 1.0, {x}[0].numel()).to({x}).view({x}[0].shape))"
        case _:
            return factor


def _charge_text(style: NeuronStyle, names: Names, x: str) -> str:
    v, number = names.v, names.number
    match style.charge:
        case "integrate":
            return f"{v} + {x}"
        case "exp_both":
            factor = _factor(style, names, x)
            return f"{factor} * {v} + (1 - {factor}) * {x}"
        case "tau":
            return f"{v} + ({x} - {v}) / {number('tau')}"
        case "tau_rest":
            return f"{v} + ({x} - ({v} - {number('rest')})) / {number('tau')}"
        case "tau_leak":
            return f"{v} - {v} / {number('tau')} + {x}"
        case "sigmoid_both":
            return f"{v} + ({x} - {v}) * torch.sigmoid({number('w')})"
        case _ if style.order == "leak_last":
            return f"{v} + {x}"
        case _ if style.planted == "quadratic":
            return f"{_factor(style, names, x)} * {v} + 0.3 * {v} * {v} + {x}"
        case _ if style.reset_form % 2:
            return f"{v} * {_factor(style, names, x)} + {x}"
        case _:
            return f"{_factor(style, names, x)} * {v} + {x}"


def _charged(style: NeuronStyle, names: Names, x: str) -> list[str]:
    """The membrane before it is compared; with the reset by the spikes of the step before, where that comes first."""
    v, s = names.v, _spikes(style, names)
    charge = _charge_text(style, names, x)
    lines = [f"{v} = {charge}"]
    if style.planted == "roll":
        lines = [f"{v} = {v}.roll(1, 1)", *lines]
    if style.order == "after_leak":
        lines = [f"{v} = {charge} - {_amount(style, names)} * {s}"]
    if style.order == "masked":
        lines = [f"{v} = ({charge}) * (1 - {s})"]
    if style.order == "before":
        fused = style.charge in FACTORS and style.reset_form < 2 and style.reset in ("hard", "soft")
        lines = [_fused(style, names, x)] if fused else [*_reset(style, names), *lines]
    if style.start != "none":
        return lines
    return [f"if {v} is None:", f"    {v} = {x}", "else:", *(f"    {line}" for line in lines)]


def _fused(style: NeuronStyle, names: Names, x: str) -> str:
    v, s, factor = names.v, _spikes(style, names), _factor(style, names, x)
    if style.reset == "hard":
        return f"{v} = {v} * {factor} * (1 - {s}) + {x}"
    return f"{v} = ({v} - {names.number('th')} * {s}) * {factor} + {x}"


def _spikes(style: NeuronStyle, names: Names) -> str:
    return f"{names.s}.detach()" if style.detach else names.s


def _amount(style: NeuronStyle, names: Names) -> str:
    return names.number("amount" if style.reset == "soft_other" else "th")


def _reset(style: NeuronStyle, names: Names) -> list[str]:
    v, s = names.v, _spikes(style, names)
    if style.planted == "reset_twice":
        s = f"({s} * last)"
    if style.planted == "other_reset":
        s = f"{s}.roll(1, 1)"
    late = style.order == "before"  # s and v may still be numbers then
    form = style.reset_form % 2 if late and style.start == "float" else style.reset_form
    match style.reset:
        case "none":
            return []
        case "hard" | "hard_value":
            return [f"{v} = {_hard(style, names, s, form)}"]
        case _:
            amount = _amount(style, names)
            in_place = form == 3 and style.start == "zeros" and not late
            forms = [f"{v} - {s} * {amount}", f"{v} - {amount} * {s}", f"{v} + (-{amount}) * {s}"]
            return [f"{v}.sub_({s} * {amount})"] if in_place else [f"{v} = {forms[form % 3]}"]


def _hard(style: NeuronStyle, names: Names, s: str, form: int) -> str:
    v = names.v
    if style.count != "none":
        form = 2
    if style.reset == "hard":
        return (
            f"{v} * (1 - {s})",
            f"{v} - {v} * {s}",
            f"torch.where({s} > 0, torch.zeros_like({v}), {v})",
            f"{v}.masked_fill({s} > 0, 0.0)",
        )[form]
    value = names.number("v_reset")
    return (
        f"{v} * (1 - {s}) + {value} * {s}",
        f"{v} - ({v} - ({value})) * {s}",
        f"torch.where({s} > 0, torch.full_like({v}, {value}), {v})",
        f"{v}.masked_fill({s} > 0, {value})",
    )[form]


def _floored(names: Names) -> list[str]:
    return [f"{names.v} = torch.clamp({names.v}, min={names.number('low')})"]


def _planted_after_charge(style: NeuronStyle, names: Names, x: str) -> list[str]:
    v = names.v
    match style.planted:
        case "noise":
            return [f"{v} = {v} + 0.2 * torch.randn_like({v})"]
        case "tanh":
            return [f"{v} = 1.5 * torch.tanh({v})"]
        case "clamp_above" | "clamp_unseen":
            return [f"{v} = {v}.clamp(max=1.05 * {names.number('th')})"]
        case "data_branch":
            return [f"if {x}.sum() > 0:", f"    {v} = 0.7 * {v}"]
        case _:
            return []


def _fired(style: NeuronStyle, names: Names, x: str) -> list[str]:
    v, s = names.v, names.s
    th = _threshold(style, names, x)
    cast = ".float()" if style.cast == "float" else f".to({v}.dtype)"
    if style.planted == "tie_channel":
        half = f"(torch.arange({v}.shape[1]) % 2 == 0).view(-1, *[1] * ({v}.dim() - 2))"
        return [f"{s} = (({v} > {th}) | (({v} >= {th}) & {half})){cast}"]
    if style.count != "none":
        return _fired_counts(style, names, th)
    sign = ">=" if style.comparator == "greater_equal" else ">"
    gap = {"gap": f"{v} - {th}", "ratio": f"{v} / {th} - 1.0"}.get(style.compared, "")
    fires = f"({gap} {sign} 0)" if gap else f"({v} {sign} {th})"
    match style.spelling:
        case "plain":
            return [f"{s} = {fires}{cast}"]
        case "straight":
            soft = f"torch.sigmoid(4.0 * ({v} - {th}))"
            carried = (
                "hard.detach() + soft - soft.detach()" if style.reset_form % 2 else "(hard - soft).detach() + soft"
            )
            return [f"hard = {fires}{cast}", f"soft = {soft}", f"{s} = {carried}"]
        case _:
            argument = gap or (v if style.compared == "constant" and not style.planted else f"{v}, {th}")
            return [f"{s} = Fire.apply({argument})"]


def _fired_counts(style: NeuronStyle, names: Names, th: str) -> list[str]:
    levels = f"{names.v} / {th}"
    match style.spelling:
        case "plain":
            return [f"{names.s} = {_counted(style, levels)}"]
        case "straight":
            lines = [f"levels = {levels}", f"counted = {_counted(style, 'levels')}"]
            return [*lines, f"{names.s} = (counted - levels).detach() + levels"]
        case _:
            return [f"{names.s} = Fire.apply({levels})"]


def _threshold(style: NeuronStyle, names: Names, x: str) -> str:
    th = names.number("th")
    match style.planted:
        case "threshold_step":
            return f"({th} if t != 1 else 1.5 * {th})"
        case "threshold_spikes":
            return f"({th} + 0.4 * last)"
        case "threshold_mean":
            return f"({th} + 0.5 * {x}.mean())"
        case _:
            return th
