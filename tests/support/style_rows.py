"""The rows of `style_forms`: how a network is written, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One style.

    code: the body of `forward(self, x)`, or with `neuron` a class `Neuron`. before: what stands above the network.
    says: of one that is read how it is called and its equation, else words of the refusal; why: the reason of that.
    described: whether the same neuron is taken with a description of its equation.
    """

    name: str
    code: str
    says: str = ""
    before: str = ""
    why: str = ""
    neuron: bool = False


_MEM_UPDATE = """\
def mem_update(layer, x, mem, spike):
    mem = mem * 0.5 * (1 - spike) + layer(x)
    return mem, (mem > 0.4).float()"""

READ = (
    Row("Membrane as a local variable, one image for all steps", """\
v = total = 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = Spike.apply(v - 0.4)
    v = v * (1 - s)
    total = total + self.fc2(s)
return total / self.T
"""),
    Row("A function `mem_update`", """\
mem = spike = torch.zeros(x.shape[0], 12)
out = 0
for _ in range(self.T):
    mem, spike = mem_update(self.fc1, x, mem, spike)
    out = out + self.fc2(spike)
return out / self.T
""", before=_MEM_UPDATE),
    Row("All steps, `[T, N, ...]`, in a list that is stacked", """\
v, spikes = 0.0, []
for step in x:
    v = 0.5 * v + self.fc1(step)
    spikes.append((v >= 0.4).float())
    v = v - 0.4 * spikes[-1]
return self.fc2(torch.stack(spikes)).mean(0)
"""),
    Row("The batch first, `[N, T, ...]`", """\
currents = self.fc1(x)
v, spikes = torch.zeros_like(currents[:, 0]), torch.zeros_like(currents)
for t in range(self.T):
    v = 0.5 * v + currents[:, t]
    spikes[:, t] = (v >= 0.4).float()
    v = v * (1 - spikes[:, t])
return self.fc2(spikes).mean(1)
"""),
    Row("Time last, `[N, ..., T]`", """\
v, out = 0.0, []
for t in range(x.shape[-1]):
    v = 0.5 * v + self.fc1(x[..., t])
    s = v.gt(0.4).to(v.dtype)
    v = torch.where(s.bool(), 0.0, v)
    out.append(self.fc2(s))
return torch.stack(out, dim=-1).mean(-1)
"""),
    Row("One step at a call, the membrane kept in the network", """\
if self.mem is None:
    self.mem = torch.zeros(x.shape[0], 12)
self.mem = 0.5 * self.mem + self.fc1(x)
s = (self.mem >= 0.4).float()
self.mem = self.mem * (1 - s)
return self.fc2(s)
"""),
    Row("Steps folded into the batch, `[T*N, ...]`", """\
current = self.norm(self.fc1(x)).view(self.T, -1, 12)
v, spikes = 0.0, []
for t in range(self.T):
    v = 0.5 * v + current[t]
    spikes.append((v >= 0.4).float())
    v = v * (1 - spikes[t])
return self.fc2(torch.cat(spikes)).view(self.T, -1, 4).mean(0)
"""),
    Row("States in a dict", """\
self.mems["fc1"] = torch.zeros(x.shape[0], 12)
out = 0
for _ in range(self.T):
    self.mems["fc1"] = 0.5 * self.mems["fc1"] + self.fc1(x)
    spike = (self.mems["fc1"] >= 0.4).float()
    self.mems["fc1"] = self.mems["fc1"] - 0.4 * spike
    out = out + self.fc2(spike)
return out
"""),
    Row("Boolean indexing", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    fired = v >= 0.4
    v[fired] = 0.0
    out = out + self.fc2(fired.float())
return out / self.T
"""),
    Row("In place", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v.mul_(0.5).add_(self.fc1(x))
    s = v.ge(0.4).float()
    v.masked_fill_(s.bool(), 0.0)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("The sign of a difference, a threshold as divisor", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (torch.sign(v / 0.4 - 1) + 1) / 2
    v = v - 0.4 * s
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("`torch.heaviside`", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = torch.heaviside(v - 0.4, torch.ones(()))
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A time constant: `v + (x - v) / tau`", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = v + (self.fc1(x) - v) / 2.0
    s = (v >= 0.2).float()
    v = (1 - s) * v
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A rest potential", """\
v, out = torch.full((x.shape[0], 12), -0.1), 0.0
for _ in range(self.T):
    v = v + (self.fc1(x) - (v + 0.1)) / 2.0
    s = (v >= 0.2).float()
    v = s * -0.1 + (1 - s) * v
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A learned leak", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = torch.sigmoid(self.leak) * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A learned threshold for each channel", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = Spike.apply(v - self.threshold)
    v = v - s * self.threshold
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("No leak, half the threshold at the beginning (converted networks)", """\
v, out = torch.full((x.shape[0], 12), 0.2), 0.0
for _ in range(self.T):
    v = v + self.fc1(x)
    s = (v >= 0.4).float() * 0.4
    v = v - s
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A synaptic current (CUBA)", """\
i = v = torch.zeros(x.shape[0], 12)
out = 0.0
for _ in range(self.T):
    i = 0.6 * i + self.fc1(x)
    v = 0.5 * v + i
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("Reset by the spike of the step before", """\
v = s = torch.zeros(x.shape[0], 12)
out = 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x) - 0.4 * s.detach()
    s = (v > 0.4).float()
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("Several spikes at a step", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = torch.floor(torch.clamp(v / 0.2, 0, 4))
    v = v - 0.2 * s
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("Recurrent: a layer reads the last spikes", """\
v = s = torch.zeros(x.shape[1], 12)
out = 0.0
for step in x:
    v = 0.5 * v * (1 - s) + self.fc1(step) + self.recurrent(s)
    s = (v >= 0.4).float()
    out = out + self.fc2(s)
return out / len(x)
"""),
    Row("The last layer gathers a membrane and never fires", """\
v, out = torch.zeros(x.shape[0], 12), torch.zeros(x.shape[0], 4)
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = 0.8 * out + self.fc2(s)
return out
"""),
    Row("The output layer fires, its spikes are counted", """\
v, u, out = torch.zeros(x.shape[0], 12), torch.zeros(x.shape[0], 4), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    u = 0.5 * u + self.fc2(s)
    o = (u >= 0.1).float()
    u = u - 0.1 * o
    out = out + o
return out / self.T
"""),
    Row("A membrane that is not below zero", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = torch.relu(0.5 * v + self.fc1(x))
    s = (v >= 0.4).float()
    v = v - 0.4 * s
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("Weights of one's own: `F.linear`, `@`", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + x @ self.fc1.weight.t() + self.fc1.bias
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + F.linear(s, self.fc2.weight)
return out / self.T
"""),
    Row("A norm of all steps at once", """\
current = self.norm(self.fc1(x).permute(1, 2, 0)).permute(2, 0, 1)
v, spikes = 0.0, []
for step in current:
    v = 0.5 * v + step
    spikes.append((v >= 0.4).float())
    v = v * (1 - spikes[-1])
return self.fc2(torch.stack(spikes)).sum(0)
"""),
    Row("A normal image inside the network", """\
x = (x - 0.5) / 0.25
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A random encoder in the network", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    coded = (torch.rand_like(x) < x).float()
    v = 0.5 * v + self.fc1(coded)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("Dropout and noise of the training", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + F.dropout(self.fc1(x), 0.2, self.training)
    if self.training:
        v = v + 0.1 * torch.randn_like(v)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
"""),
    Row("A neuron module over all steps", """\
class Neuron(nn.Module):
    def forward(self, x):  # [T, N, C]
        v, spikes = torch.zeros_like(x[0]), []
        for t in range(x.shape[0]):
            v = v + (x[t] - v) * 0.5
            spikes.append(Spike.apply(v - 0.2))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes, 0)
""", neuron=True),
    Row("A neuron module of one step, its membrane a buffer", """\
class Neuron(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("v", torch.zeros(()))

    def forward(self, x):  # [N, C]
        self.v = 0.5 * self.v + x
        s = (self.v >= 0.3).float()
        self.v = self.v - 0.3 * s
        return s
""", neuron=True),
    Row("One `autograd.Function` for all steps", """\
class Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # [T, N, C]
        v, out = torch.zeros_like(x[0]), torch.zeros_like(x)
        for t in range(len(x)):
            v = 0.5 * v + x[t]
            out[t] = (v >= 0.3).to(x.dtype)
            v = v * (1 - out[t])
        return out


class Neuron(nn.Module):
    def forward(self, x):
        return Steps.apply(x)
""", neuron=True),
)


def _neuron(lines: str, start: str = "v = torch.zeros_like(x[0])") -> str:
    body = "\n".join(" " * 12 + line for line in lines.strip().splitlines())
    return f"""\
class Neuron(nn.Module):
    def forward(self, x):  # [T, N, C]
        {start}
        spikes = []
        for t in range(len(x)):
{body}
            spikes.append(s)
        return torch.stack(spikes)
"""


REFUSED = (
    Row("A threshold that adapts", _neuron("""\
v = 0.5 * v + x[t]
s = (v >= 0.3 + a).float()
v = v * (1 - s)
a = 0.9 * a + 0.2 * s
""", "v = a = torch.zeros_like(x[0])"), neuron=True, why="the threshold follows the spikes; an integer neuron's is constant"),
    Row("A refractory time", _neuron("""\
v = 0.5 * v + x[t] * (rest <= 0)
s = (v >= 0.3).float()
v = v * (1 - s)
rest = torch.clamp(rest - 1, min=0) + 2 * s
""", "v = rest = torch.zeros_like(x[0])"), neuron=True, why="a counter that holds the neuron back is a second state that is not linear"),
    Row("A quadratic membrane", _neuron("""\
v = v + 0.5 * v * v + x[t]
s = (v >= 0.3).float()
v = v * (1 - s)
"""), neuron=True, why="the membrane is not linear between spikes"),
    Row("A membrane that saturates", _neuron("""\
v = torch.tanh(0.5 * v + x[t])
s = (v >= 0.3).float()
v = v * (1 - s)
"""), neuron=True, why="the membrane is not linear between spikes"),
    Row("A leak from the current", _neuron("""\
v = torch.sigmoid(x[t]) * v + x[t]
s = (v >= 0.3).float()
v = v * (1 - s)
"""), neuron=True, why="the decay of an integer neuron is constant"),
    Row("Another leak at each step", _neuron("""\
v = (0.9 - 0.2 * t) * v + x[t]
s = (v >= 0.3).float()
v = v * (1 - s)
"""), neuron=True, why="the decay of an integer neuron is constant"),
    Row("Noise on the membrane", _neuron("""\
v = 0.5 * v + x[t] + 0.1 * torch.randn_like(v)
s = (v >= 0.3).float()
v = v * (1 - s)
"""), neuron=True, why="a graph is not random; only an encoder of the input can be taken out"),
    Row("A random membrane at the beginning", _neuron("""\
v = 0.5 * v + x[t]
s = (v >= 0.3).float()
v = v * (1 - s)
""", "v = torch.rand_like(x[0])"), neuron=True, why="a graph is not random"),
    Row("Spikes of both signs", _neuron("""\
v = 0.5 * v + x[t]
s = (v >= 0.3).float() - (v <= -0.3).float()
v = v * (1 - s.abs())
"""), neuron=True, why="integer spikes are 0 and positive"),
    Row("Parallel spiking neurons", """\
class Neuron(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.rand(4, 4))

    def forward(self, x):  # [T, N, C]
        h = torch.einsum("ts,snc->tnc", self.mix, x)
        return (h >= 0.5).float()
""", neuron=True, why="each step reads all steps, later ones too"),
    Row("A neuron that reads its neighbour", _neuron("""\
v = 0.5 * v + 0.2 * v.roll(1, -1) + x[t]
s = (v >= 0.3).float()
v = v * (1 - s)
"""), neuron=True, why="each channel has a membrane of its own"),
    Row("NumPy in the middle", """\
class Neuron(nn.Module):
    def forward(self, x):  # [T, N, C]
        v, spikes = 0.0, []
        for step in x.detach().numpy():
            v = 0.5 * v + step
            spikes.append(torch.as_tensor(v >= 0.3).to(x.dtype))
            v = v * (v < 0.3)
        return torch.stack(spikes)
""", neuron=True, why="values leave torch, and cannot be followed; a [description](own.md) makes it readable"),
    Row("A layer norm", """\
v, out = 0.0, 0.0
for _ in range(self.T):
    v = 0.5 * v + F.layer_norm(self.fc1(x), (12,))
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""", why="its mean and variance come from the data; a batch norm's are constants"),
    Row("A softmax between layers", """\
v, out = 0.0, 0.0
for _ in range(self.T):
    v = 0.5 * v + torch.softmax(self.fc1(x), -1)
    s = (v >= 0.1).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""", why="it is no function of integers"),
    Row("An early end that the data choose", """\
v, out = 0.0, 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
    if out.abs().max() > 0.2:
        break
return out
""", why="a graph is the same for all data"),
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
""", why="layers run one after the other within a step"),
    Row("Weights of a layer at each step", """\
v, out = 0.0, 0.0
for t in range(self.T):
    v = 0.5 * v + F.linear(x, self.fc1.weight * (1 + 0.5 * t))
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""", why="a layer has the same weights at all steps"),
)
