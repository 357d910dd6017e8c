"""The text of a whole network, from its plan: spike function, neuron, wrappers, and the network's class `Net`."""

from __future__ import annotations

from tests.support.styles_containers import (
    layer_number,
    neuron_text,
    numbers_given,
    sequence_inline,
    step_inline,
)
from tests.support.styles_forward import AXIS, WHOLE, loop_forward, reset_method, sequence_forward, step_forward
from tests.support.styles_plan import Layer, Plan
from tests.support.styles_steps import spike_function

FRAMES = """def frames(layer, x):
    y = layer(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])"""

PER_FRAME = """class PerFrame(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        a, b = x.shape[0], x.shape[1]
        y = self.body(x.reshape(a * b, *x.shape[2:]))
        return y.reshape(a, b, *y.shape[1:])"""

OVER_TIME = """class OverTime(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return torch.stack([self.layer(x.select(AXIS, t)) for t in range(x.shape[AXIS])], dim=AXIS)"""

SUBCLASSES = """class SeqConv(nn.Conv2d):
    def forward(self, x):
        out = []
        for t in range(x.shape[AXIS]):
            frame = x.select(AXIS, t)
            y = F.conv2d(frame, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
            out.append(y)
        return torch.stack(out, dim=AXIS)


class SeqNorm(nn.BatchNorm2d):
    def forward(self, x):
        y = super().forward(x.flatten(0, 1))
        return y.view(x.shape)"""

DEPTH_NORM = """class DepthNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm3d(channels))

    def forward(self, x):
        return self.body(x.permute(THERE)).permute(BACK)"""

THRESHOLD_NORM = """class ThresholdNorm(nn.Module):
    def __init__(self, channels, vth):
        super().__init__()
        self.vth, self.eps = vth, 1e-5
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        shape = [1] * x.dim()
        shape[CHANNELS] = -1
        mean, var = self.running_mean.view(shape), self.running_var.view(shape)
        normed = self.vth * (x - mean) / torch.sqrt(var + self.eps)
        return normed * self.weight.view(shape) + self.bias.view(shape)"""

STEP_NORM = """class StepNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(STEPS)])

    def forward(self, x):
        return torch.stack([norm(x.select(AXIS, t)) for t, norm in enumerate(self.norms)], dim=AXIS)"""


def source(plan: Plan) -> str:
    """The module's text."""
    lines = ["import math", "", "import torch", "import torch.nn.functional as F", "from torch import nn", ""]
    lines += [f"STEPS = {plan.steps}"]
    lines += [f"THRESH = {plan.threshold!r}"] if plan.neuron.compared == "constant" else []
    network = "\n".join(_network(plan))
    parts = ["\n".join(lines), spike_function(plan.neuron), *_wrappers(plan, network), neuron_text(plan), network]
    return "\n\n\n".join(part for part in parts if part) + "\n"


def _wrappers(plan: Plan, network: str) -> list[str]:
    """Those that the network uses."""
    axis = str(AXIS[plan.inner])
    there, back = {
        "TN": ("1, 2, 0, 3, 4", "2, 0, 1, 3, 4"),
        "NT": ("0, 2, 1, 3, 4", "0, 2, 1, 3, 4"),
    }.get(plan.inner, ("0, 1, 2, 3, 4", "0, 1, 2, 3, 4"))
    sequence = plan.major == "sequence" and plan.inner in ("TN", "NT")
    texts = {
        "frames(": FRAMES,
        "PerFrame(": PER_FRAME,
        "OverTime(": OVER_TIME.replace("AXIS", axis),
        "Seq": SUBCLASSES.replace("AXIS", axis),
        "DepthNorm(": DEPTH_NORM.replace("THERE", there).replace("BACK", back),
        "ThresholdNorm(": THRESHOLD_NORM.replace("CHANNELS", "2" if sequence else "1"),
        "StepNorm(": STEP_NORM.replace("AXIS", axis),
    }
    return [text for word, text in texts.items() if word in network]


def _network(plan: Plan) -> list[str]:
    body = _Body(plan)
    for index, layer in enumerate(plan.layers):
        body.layer(index, layer)
    lines = ["class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
    lines += [f"        {line}" for line in body.made]
    if plan.major == "step":
        lines += reset_method(plan)
    lines += ["", "    def forward(self, x):"]
    forward = {"sequence": sequence_forward, "loop": loop_forward, "step": step_forward}[plan.major](plan, body.run)
    return lines + [f"        {line}" for line in forward]


class _Body:
    """Collects what the network makes (`made`) and what it does with x layer by layer (`run`)."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.made: list[str] = []
        self.run: list[str] = []
        self.wraps = plan.major == "sequence" and not plan.inner.startswith("folded")

    def layer(self, index: int, layer: Layer) -> None:
        """A layer, its norm, its neuron and its pool."""
        plan, run = self.plan, self.run
        if layer.kind == "linear":
            flat = {"TN": "2", "NT": "2", "last": "1, -2"}[plan.inner] if self.wraps else "1"
            run += [f"x = x.flatten({flat})"] if index and plan.layers[index - 1].kind != "linear" else []
        if layer.pad == "module":
            self._module(f"pad{index + 1}", "nn.ZeroPad2d(1)")
        if layer.pad == "function":
            self._function("F.pad({}, (1, 1, 1, 1))")
        self._module(layer.name, _made(layer))
        self._norm(layer)
        if plan.residual == "currents" and index < 2:
            run += ["x = x + skip"] if index == 1 else ["skip = x"]
        if layer.numbers is None:
            return
        self._neuron(index, layer)
        if plan.residual == "spikes" and index < 2:
            run += ["x = x + skip"] if index == 1 else ["skip = x"]
        self._pool(layer)

    def _module(self, name: str, made: str) -> None:
        applying, linear = self.plan.applying, made.startswith("nn.Linear")
        run = f"self.{name}(x)"
        if self.wraps:
            match applying:
                case "wrapper":
                    made = f"PerFrame({made})"
                case "loop_wrapper":
                    made = f"OverTime({made})"
                case "subclass" if "nn.Conv2d" in made or "nn.BatchNorm2d" in made:
                    made = made.replace("nn.Conv2d", "SeqConv").replace("nn.BatchNorm2d", "SeqNorm")
                case "subclass" if linear:
                    pass
                case _:
                    run = f"frames(self.{name}, x)"
        self.made.append(f"self.{name} = {made}")
        inside = self.plan.container == "update" and name in {layer.name for layer in self.plan.spiking}
        self.run += [] if inside else [f"x = {run}"]

    def _function(self, text: str) -> None:
        if not self.wraps:
            self.run.append(f"x = {text.format('x')}")
        elif self.plan.inner == "last":
            each = text.format("x[..., t]")
            self.run.append(f"x = torch.stack([{each} for t in range(STEPS)], dim=-1)")
        else:
            self.run.append(f"x = frames(lambda f: {text.format('f')}, x)")

    def _norm(self, layer: Layer) -> None:
        name, channels = layer.name.replace("conv", "norm"), layer.outputs
        match layer.norm:
            case "none":
                return
            case "folded":
                self._module(name, f"nn.BatchNorm2d({channels})")
                return
            case "bn3d":
                made = f"DepthNorm({channels})"
            case "tdbn":
                made = f"ThresholdNorm({channels}, {self.plan.threshold!r})"
            case "per_step" if self.plan.major == "loop":
                self.made.append(f"self.{name} = nn.ModuleList([nn.BatchNorm2d({channels}) for _ in range(STEPS)])")
                self.run.append(f"x = self.{name}[t](x)")
                return
            case "per_step":
                made = f"StepNorm({channels})"
        self.made.append(f"self.{name} = {made}")
        self.run.append(f"x = self.{name}(x)")

    def _neuron(self, index: int, layer: Layer) -> None:
        plan, name = self.plan, f"lif{index + 1}"
        if plan.container in ("module", "explicit", "hidden"):
            self.made.append(f"self.{name} = LIF({numbers_given(plan, layer, keywords=True)})")
        elif plan.numbers_as == "attribute":
            self.made += [f"self.{number}{index + 1} = {layer_number(plan, layer, number)}" for number in _all(layer)]
        elif layer.numbers is not None:
            learned = [number for number in _all(layer) if number in layer.numbers.learned]
            self.made += [f"self.{number}{index + 1} = {layer_number(plan, layer, number)}" for number in learned]
        lists = plan.major == "sequence" and plan.collect == "list"
        if plan.major == "sequence":
            self.run += self._sequence_of(name, layer)
            if lists and plan.container != "hidden":
                self.run.append(f"x = torch.stack(x, dim={AXIS[plan.inner]})")
        elif plan.container == "hidden":
            self.run.append(f"x = self.{name}(x)")
        else:
            self.run += step_inline(plan, index, layer)

    def _sequence_of(self, name: str, layer: Layer) -> list[str]:
        plan = self.plan
        match plan.container:
            case "module":
                return [f"x = self.{name}(x)"]
            case "inline":
                return sequence_inline(plan, layer)
            case "hidden":
                steps = f"self.{name}({WHOLE[plan.inner]}) for t in range(STEPS)"
                return [f"self.{name}.{plan.reset_name}()", f"x = torch.stack([{steps}], dim={AXIS[plan.inner]})"]
            case _:
                return [f"x = lif(x, {numbers_given(plan, layer, keywords=False)})"]

    def _pool(self, layer: Layer) -> None:
        side = layer.pooled[-1]
        modules = {
            "avg": "nn.AvgPool2d(2)",
            "max": "nn.MaxPool2d(2)",
            "adaptive": f"nn.AdaptiveAvgPool2d({side})",
        }
        functions = {
            "F.avg": "F.avg_pool2d({}, 2)",
            "F.max": "F.max_pool2d({}, 2)",
            "F.adaptive": f"F.adaptive_avg_pool2d({{}}, {side})",
        }
        if layer.pool in modules:
            self._module(layer.name.replace("conv", "pool"), modules[layer.pool])
        elif layer.pool in functions:
            self._function(functions[layer.pool])


def _all(layer: Layer) -> list[str]:
    assert layer.numbers is not None
    return list(layer.numbers.values)


def _made(layer: Layer) -> str:
    if layer.kind == "linear":
        return f"nn.Linear({layer.inputs}, {layer.outputs}, bias={layer.bias})"
    padding = 1 if layer.pad == "inside" else 0
    groups = f", groups={layer.inputs}" if layer.kind == "depthwise" else ""
    return f"nn.Conv2d({layer.inputs}, {layer.outputs}, 3, padding={padding}, bias={layer.bias}{groups})"
