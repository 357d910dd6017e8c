"""The text of a network's forward: from its author's axes through all layers to its answer."""

from __future__ import annotations

from tests.support.styles_containers import state_setup
from tests.support.styles_plan import Plan

AXIS = {"TN": 0, "NT": 1, "last": -1, "folded_TN": 0, "folded_NT": 1}
WHOLE = {"TN": "x[t]", "NT": "x[:, t]", "last": "x[..., t]"}


def sequence_forward(plan: Plan, run: list[str]) -> list[str]:
    """Every layer over all steps."""
    return [*_entered(plan), *run, *_answered(plan)]


def _entered(plan: Plan) -> list[str]:
    """From the author's axes to those inside."""
    rest = len(plan.features)
    if plan.input == "still":
        return _repeated(plan)
    if plan.input == plan.inner or plan.input.startswith("("):
        return []
    last_first = ", ".join(str(axis) for axis in (rest + 1, *range(rest + 1)))
    last = ", ".join(str(axis) for axis in (0, *range(2, rest + 2), 1))
    turned = {
        ("TN", "NT"): ["x = x.transpose(0, 1)"],
        ("NT", "TN"): ["x = x.transpose(0, 1).contiguous()"],
        ("last", "TN"): [f"x = x.permute({last_first})"],
        ("NT", "last"): [f"x = x.permute({last})"],
        ("TN", "folded_TN"): ["x = x.flatten(0, 1)"],
        ("NT", "folded_NT"): ["x = x.reshape(-1, *x.shape[2:])"],
    }
    return turned[plan.input, plan.inner]


def _repeated(plan: Plan) -> list[str]:
    """A still image for all steps."""
    axis = AXIS[plan.inner]
    ones = ["1"] * (len(plan.features) + 2)
    ones[axis] = "STEPS"
    repeats = ", ".join(ones)
    fold = ["x = x.flatten(0, 1)"] if plan.inner.startswith("folded") else []
    match plan.entry:
        case "repeat":
            lines = [f"x = x.unsqueeze({axis}).repeat({repeats})"]
        case "unsqueeze_":
            lines = [f"x.unsqueeze_({axis})", f"x = x.repeat({repeats})"]
        case "stack":
            lines = [f"x = torch.stack([x] * STEPS, dim={axis})"]
        case "written" if axis == 0:
            dtype = "" if plan.neuron.cast == "float" else ", dtype=x.dtype"
            written = f"movie = torch.zeros(STEPS, *x.shape, device=x.device{dtype})"
            lines = [written, "for t in range(STEPS):", "    movie[t] = x", "x = movie"]
        case _:
            lines = [f"x = x.unsqueeze({axis}).expand({', '.join('-1' if one == '1' else one for one in ones)})"]
    return lines + fold


def _answered(plan: Plan) -> list[str]:
    lines, inner, axis = [], plan.inner, AXIS[plan.inner]
    if inner.startswith("folded"):
        sizes = "STEPS, -1" if inner == "folded_TN" else "-1, STEPS"
        lines = [f"x = x.view({sizes}, x.shape[-1])"]
    step = {0: "x[t]", 1: "x[:, t]", -1: "x[..., t]"}[axis]
    match plan.answer:
        case "mean" | "sum":
            return [*lines, f"return x.{plan.answer}({axis})"]
        case "last":
            return [*lines, f"return {step.replace('t]', '-1]')}"]
        case "list":
            return [*lines, f"return [{step} for t in range(STEPS)]"]
        case "membrane":
            keep = "m" if plan.readout_decay == 1.0 else f"{plan.readout_decay} * m"
            return [*lines, "m = 0.0", "for t in range(STEPS):", f"    m = {keep} + {step}", "return m"]
        case "T N K":
            turned = {0: "x", 1: "x.transpose(0, 1)", -1: "x.permute(2, 0, 1)"}[axis]
        case "N T K":
            turned = {0: "x.transpose(0, 1)", 1: "x", -1: "x.transpose(1, 2)"}[axis]
    return [*lines, f"return {turned}"]


def loop_forward(plan: Plan, run: list[str]) -> list[str]:
    """Every step through all layers."""
    lines = []
    given: str = plan.input
    if given in ("(TN)", "(NT)"):
        lines.append(f"x = x.view({'STEPS, -1' if given == '(TN)' else '-1, STEPS'}, *x.shape[1:])")
    if given == "still" and plan.entry != "reuse":
        ones = ", ".join(["1"] * (len(plan.features) + 1))
        lines.append(
            f"x = x.unsqueeze(0).{f'repeat(STEPS, {ones})' if plan.entry == 'repeat' else 'expand(STEPS, *x.shape)'}"
        )
        given = "TN"
    given = given.strip("()")
    frame = WHOLE.get(given, "x")
    axis = {"TN": 0, "NT": 1, "last": -1}.get(given)
    lines.append(f"batch = x.shape[{1 if given == 'TN' else 0}]")
    lines += state_setup(plan)
    lines += ["sequence = x"]
    reused = given == "still"
    once_alone = plan.layers[0].pad in ("inside", "") and plan.container != "update"
    once, run = (run[:1], run[1:]) if reused and once_alone else ([], run)
    lines += [line.replace("x = ", "current = ") for line in once]
    start = "current" if once else frame.replace("x", "sequence", 1)
    steps = "STEPS" if plan.fixed_steps or axis is None else f"x.shape[{axis}]"
    before, after, end = _collected(plan)
    lines += [*before, f"for t in range({steps}):", f"    x = {start}"]
    return lines + [f"    {line}" for line in (*run, *after)] + [line.replace("COUNT", "STEPS") for line in end]


def _collected(plan: Plan) -> tuple[list[str], list[str], list[str]]:
    """Lines before the loop, at the end of its body, and behind it."""
    match plan.answer:
        case "mean" if plan.collect in ("stack", "list"):
            return ["out = []"], ["out.append(x)"], ["return torch.stack(out).mean(0)"]
        case "mean":
            return ["total = 0"], ["total = total + x"], ["return total / COUNT"]
        case "sum":
            return ["total = 0.0"], ["total += x"], ["return total"]
        case "last":
            return [], [], ["return x"]
        case "membrane":
            keep = "m" if plan.readout_decay == 1.0 else f"{plan.readout_decay} * m"
            return ["m = 0.0"], [f"m = {keep} + x"], ["return m"]
        case "list":
            return ["out = []"], ["out.append(x)"], ["return out"]
        case "T N K":
            return ["out = []"], ["out.append(x)"], _joined(plan, 0)
        case "N T K":
            return ["out = []"], ["out.append(x)"], _joined(plan, 1)


def _joined(plan: Plan, axis: int) -> list[str]:
    if plan.collect == "cat":
        return [f"return torch.cat([one.unsqueeze({axis}) for one in out], dim={axis})"]
    return [f"return torch.stack(out, dim={axis})"]


def step_forward(_: Plan, run: list[str]) -> list[str]:
    """One step; the script that calls it walks through them."""
    return [*run, "return x"]


def reset_method(plan: Plan) -> list[str]:
    """The method by which that script begins anew."""
    if plan.container == "hidden":
        loop = ["for part in self.modules():", "    if isinstance(part, LIF):", f"        part.{plan.reset_name}()"]
        lines = loop
    else:
        lines = state_setup(plan)
    made = [] if plan.container == "hidden" else [f"        self.{plan.reset_name}()"]
    return [*made, "", f"    def {plan.reset_name}(self):", *(f"        {line}" for line in lines)]
