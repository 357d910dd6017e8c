"""Styles that are refused, or need another line: rows of `style_forms`."""

from __future__ import annotations

from tests.support.style_row import Row, charging

_IN_NUMPY = """\
class Neuron(nn.Module):
    def forward(self, x):  # [T, N, C]
        v, spikes = 0.0, []
        for step in x.detach().numpy():
            v = 0.5 * v + step
            spikes.append(torch.as_tensor(v >= 0.3).to(x.dtype))
            v = v * (v < 0.3)
        return torch.stack(spikes)
"""
_DESCRIPTION = """
    def neuron_model(self):
        from mdcompress.graph import NeuronModel

        return NeuronModel(
            decay=0.5,
            input_gain=1.0,
            drive=0.0,
            threshold=0.3,
            comparator="greater_equal",
            reset="hard",
            reset_value=0.0,
            soft_amount=0.0,
            initial=0.0,
        )
"""

# fmt: off
ONE_LINE = (
    Row("Half a spike at the threshold: `torch.sign`", charging("""\
v = 0.5 * v + self.fc1(x)
s = (torch.sign(v - 0.3) + 1) / 2
v = v * (1 - s)
"""),
        why="at the exact threshold it is half a spike; `v > 0.3` or `v >= 0.3` is read",
        says="a product or another function of currents",
        instead=charging("""\
v = 0.5 * v + self.fc1(x)
s = (v > 0.3).float()
v = v * (1 - s)
"""),
    ),
    Row("Noise on the membrane", charging("""\
v = 0.5 * v + self.fc1(x) + 0.1 * torch.randn_like(v)
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
        why="a graph is not random. Only an encoder of the input is taken out",
        says="the network draws random numbers, and a graph is not random",
        instead=charging("""\
v = 0.5 * v + self.fc1(x)
if self.training:
    v = v + 0.1 * torch.randn_like(v)
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
    ),
    Row("NumPy in the middle", _IN_NUMPY,
        says="what the network returns does not depend on its input",
        why="values leave torch, and cannot be followed. A [description](own.md) says the equation",
        neuron=True,
        instead=_IN_NUMPY + _DESCRIPTION,
    ),
)

REFUSED = (
    Row("A threshold that adapts", charging(
            """\
v = 0.5 * v + self.fc1(x)
s = (v >= 0.3 + a).float()
v = v * (1 - s)
a = 0.9 * a + 0.2 * s
""",
            "v = a = torch.zeros(x.shape[0], 12)",
        ),
        why="the threshold follows the spikes; an integer neuron's is constant",
        says="this looks like a neuron, but what a spike does to its potential is neither a hard reset nor a soft one",
    ),
    Row("A refractory time", charging(
            """\
v = 0.5 * v + self.fc1(x) * (rest <= 0)
s = (v >= 0.3).float()
v = v * (1 - s)
rest = torch.clamp(rest - 1, min=0) + 2 * s
""",
            "v = rest = torch.zeros(x.shape[0], 12)",
        ),
        why="a counter that holds the neuron back is a second state that is not linear",
        says="this looks like a neuron, but its impulse response is no decay, nor one behind a filter of its current",
    ),
    Row("A quadratic membrane", charging("""\
v = 0.5 * v + 0.5 * v * v + self.fc1(x)
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
        why="the membrane is not linear between spikes",
        says="this looks like a neuron, but its potential is not linear in its current",
    ),
    Row("A membrane that saturates", charging("""\
v = torch.tanh(0.5 * v + self.fc1(x))
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
        why="the membrane is not linear between spikes",
        says="this looks like a neuron, but its potential is not linear in its current",
    ),
    Row("A leak from the current", charging("""\
v = torch.sigmoid(self.fc1(x)) * v + self.fc1(x)
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
        why="the decay of an integer neuron is constant",
        says="this looks like a neuron, but its potential is not linear in its current",
    ),
    Row("Another leak at each step", charging("""\
v = (0.9 - 0.2 * t) * v + self.fc1(x)
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
        why="the decay of an integer neuron is constant",
        says="this looks like a neuron, but its impulse response is no decay, nor one behind a filter of its current",
    ),
    Row("A random membrane at the beginning", charging(
            """\
v = 0.5 * v + self.fc1(x)
s = (v >= 0.3).float()
v = v * (1 - s)
""",
            "v = torch.rand(x.shape[0], 12)",
        ),
        why="a graph is not random",
        says="the network draws random numbers, and a graph is not random",
    ),
    Row("Spikes of both signs", charging("""\
v = 0.5 * v + self.fc1(x)
s = (v >= 0.3).float() - (v <= -0.3).float()
v = v * (1 - s.abs())
"""),
        why="integer spikes are 0 and positive",
        says="this looks like a neuron, but its impulse response is no decay, nor one behind a filter of its current",
    ),
    Row("Parallel spiking neurons", """\
class Neuron(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.rand(4, 4))

    def forward(self, x):  # [T, N, C]
        h = torch.einsum("ts,snc->tnc", self.mix, x)
        return (h >= 0.5).float()
""",
        neuron=True,
        why="each step reads all steps, later ones too",
        says="a matrix of constants is multiplied",
    ),
    Row("A neuron that reads its neighbour", charging("""\
v = 0.5 * v + 0.2 * v.roll(1, -1) + self.fc1(x)
s = (v >= 0.3).float()
v = v * (1 - s)
"""),
        why="each channel has a membrane of its own",
        says="neuron 'fc1_neuron' reads 'fc1' at other places than its own",
    ),
    Row("Delays", charging(
            """\
v = 0.5 * v + self.fc1(x)
s = late.pop(0)
late.append((v >= 0.3).float())
v = v * (1 - late[-1])
""",
            "v = torch.zeros(x.shape[0], 12)\nlate = [torch.zeros(x.shape[0], 12)]",
        ),
        why="a layer reads the spikes of its own step",
        says="steps are combined in a way that is no sum, mean or last step, nor a membrane that decays",
    ),
    Row("The mean of the batch as threshold", charging("""\
v = 0.5 * v + self.fc1(x)
s = (v >= v.mean(0)).float()
v = v * (1 - s)
"""),
        why="a graph computes each sample alone",
        says="a neuron reads a value computed from several samples of the batch",
    ),
    Row("A layer norm", """\
v, out = 0.0, 0.0
for _ in range(self.T):
    v = 0.5 * v + F.layer_norm(self.fc1(x), (12,))
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""",
        why="its mean and variance come from the data; a batch norm's are constants",
        says="the network calls native_layer_norm, which a graph of spiking layers cannot hold",
    ),
    Row("A softmax between layers", """\
v, out = 0.0, 0.0
for _ in range(self.T):
    v = 0.5 * v + torch.softmax(self.fc1(x), -1)
    s = (v >= 0.1).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""",
        why="it is no function of integers",
        says="the network calls softmax, which a graph of spiking layers cannot hold",
    ),
    Row("An early end that the data choose", """\
v, out = 0.0, 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
    if s.mean() > 0.4:
        break
return out
""",
        why="a graph is the same for all data",
        says="a mean is taken over samples",
    ),
    Row("Feedback from a later layer", """\
v = u = o = 0.0
o = torch.zeros(x.shape[0], 4)
out = 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x) + F.linear(o, self.fc2.weight.t())
    s = (v >= 0.4).float()
    v = v * (1 - s)
    u = 0.5 * u + self.fc2(s)
    o = (u >= 0.1).float()
    u = u * (1 - o)
    out = out + o
return out / self.T
""",
        why="layers run one after the other within a step",
        says="this looks like a neuron, but its potential is not linear in its currents and its last potential",
    ),
    Row("Weights of a layer at each step", """\
v, out = 0.0, 0.0
for t in range(self.T):
    v = 0.5 * v + F.linear(x, self.fc1.weight * (1 + 0.5 * t))
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""",
        why="a layer has the same weights at all steps",
        says="this looks like a neuron, but it keeps another share of one input than of the other",
    ),
)
# fmt: on
