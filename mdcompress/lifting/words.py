"""A canonical neuron in words, and what to do where reading itself fails."""

from __future__ import annotations

from mdcompress.graph import NeuronModel

REPORT = (
    "report it, with the network's forward; a neuron that describes itself (docs/frameworks/own.md) needs no reading"
)


def in_words(model: NeuronModel) -> str:
    """A neuron's equation with its numbers, on one line. s_last: its spikes of the step before."""

    def said(value: object) -> str:
        match value:
            case tuple():
                return f"[{min(value):.6g} … {max(value):.6g}, {len(value)} channels]"
            case float() | int():
                return f"{value:.6g}"
            case _:
                return str(value)

    current = "i" if model.has_synapse else "x"
    words = []
    if model.has_synapse:
        words.append(f"i = {said(model.synapse_decay)}*i + x")
    charge = f"h = {said(model.decay)}*v"
    gain = "" if model.input_gain == 1.0 else f"{said(model.input_gain)}*"
    charge += f" + {gain}{current}" + (f" + {said(model.drive)}" if model.drive != 0.0 else "")
    if model.timing == "masked":
        charge = f"h = ({charge.removeprefix('h = ')})*(1 - s_last)"
    elif model.timing == "after_leak":
        charge += f" - {said(model.soft_amount)}*s_last"
    words.append(charge)
    if model.output == "membrane":
        return ", ".join([*words, "v = h"])
    sign = ">=" if model.comparator == "greater_equal" else ">"
    if model.spike == "binary":
        words.append(f"s = [h {sign} {said(model.threshold)}]")
    else:
        top = "" if model.max_spikes is None else f", at most {model.max_spikes}"
        words.append(f"s = {model.spike}(h / {said(model.threshold)}){top}")
    match model.reset:
        case _ if model.timing != "same_step":
            words.append("v = h")
        case "hard":
            words.append(f"v = {said(model.reset_value)} where s, else h")
        case "soft":
            words.append(f"v = h - {said(model.soft_amount)}*s")
        case "none":
            words.append("v = h")
    if model.initial != 0.0:
        words.append(f"v(0) = {said(model.initial)}")
    if model.floor != "none":
        words.append(f"floor {said(model.floor_value)}")
    return ", ".join(words)
