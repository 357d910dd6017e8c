"""Styles that are read: rows of `style_forms`."""

from __future__ import annotations

from tests.support.style_row import IMAGE, ONE_STEP, STEPS, Row, charging

_MEM_UPDATE = """\
def mem_update(layer, x, mem, spike):
    mem = mem * 0.5 * (1 - spike) + layer(x)
    return mem, (mem > 0.4).float()"""

# fmt: off
READ = (
    Row("Membrane as a local variable, one image for all steps", """\
v = total = 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = Spike.apply(v - 0.4)
    v = v * (1 - s)
    total = total + self.fc2(s)
return total / self.T
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A function `mem_update`", """\
mem = spike = torch.zeros(x.shape[0], 12)
out = 0
for _ in range(self.T):
    mem, spike = mem_update(self.fc1, x, mem, spike)
    out = out + self.fc2(spike)
return out / self.T
""",
        before=_MEM_UPDATE,
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h > 0.4], v = 0 where s, else h",
    ),
    Row("All steps, `[T, N, ...]`, in a list that is stacked", """\
v, spikes = 0.0, []
for step in x:
    v = 0.5 * v + self.fc1(step)
    spikes.append((v >= 0.4).float())
    v = v - 0.4 * spikes[-1]
return self.fc2(torch.stack(spikes)).mean(0)
""",
        calls=STEPS,
        says="h = 0.5*v + x, s = [h >= 0.4], v = h - 0.4*s",
    ),
    Row("The batch first, `[N, T, ...]`", """\
currents = self.fc1(x)
v, spikes = torch.zeros_like(currents[:, 0]), torch.zeros_like(currents)
for t in range(self.T):
    v = 0.5 * v + currents[:, t]
    spikes[:, t] = (v >= 0.4).float()
    v = v * (1 - spikes[:, t])
return self.fc2(spikes).mean(1)
""",
        calls="takes the batch first, [N, T, ...]",
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("Time last, `[N, ..., T]`", """\
v, out = 0.0, []
for t in range(x.shape[-1]):
    v = 0.5 * v + self.fc1(x[..., t])
    s = v.gt(0.4).to(v.dtype)
    v = torch.where(s.bool(), 0.0, v)
    out.append(self.fc2(s))
return torch.stack(out, dim=-1).mean(-1)
""",
        calls="takes time last, [N, ..., T]",
        says="h = 0.5*v + x, s = [h > 0.4], v = 0 where s, else h",
    ),
    Row("One step at a call, the membrane kept in the network", """\
if self.mem is None:
    self.mem = torch.zeros(x.shape[0], 12)
self.mem = 0.5 * self.mem + self.fc1(x)
s = (self.mem >= 0.4).float()
self.mem = self.mem * (1 - s)
return self.fc2(s)
""",
        calls=ONE_STEP,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("Steps folded into the batch, `[T*N, ...]`", """\
current = self.norm(self.fc1(x)).view(self.T, -1, 12)
v, spikes = 0.0, []
for t in range(self.T):
    v = 0.5 * v + current[t]
    spikes.append((v >= 0.4).float())
    v = v * (1 - spikes[t])
return self.fc2(torch.cat(spikes)).view(self.T, -1, 4).mean(0)
""",
        calls="takes steps folded into the batch, [T*N, ...]",
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("States in a dict", """\
self.mems["fc1"] = torch.zeros(x.shape[0], 12)
out = 0
for _ in range(self.T):
    self.mems["fc1"] = 0.5 * self.mems["fc1"] + self.fc1(x)
    spike = (self.mems["fc1"] >= 0.4).float()
    self.mems["fc1"] = self.mems["fc1"] - 0.4 * spike
    out = out + self.fc2(spike)
return out
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = h - 0.4*s",
    ),
    Row("Boolean indexing", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    fired = v >= 0.4
    v[fired] = 0.0
    out = out + self.fc2(fired.float())
return out / self.T
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("In place", charging("""\
v.mul_(0.5).add_(self.fc1(x))
s = v.ge(0.4).float()
v.masked_fill_(s.bool(), 0.0)
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("The threshold as a divisor", charging("""\
v = 0.5 * v + self.fc1(x)
s = Spike.apply(v / 0.4 - 1.0)
v = v - 0.4 * s
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = h - 0.4*s",
    ),
    Row("`torch.heaviside`", charging("""\
v = 0.5 * v + self.fc1(x)
s = torch.heaviside(v - 0.4, torch.ones(()))
v = v * (1 - s)
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A time constant: `v + (x - v) / tau`", charging("""\
v = v + (self.fc1(x) - v) / 2.0
s = (v >= 0.2).float()
v = (1 - s) * v
"""),
        calls=IMAGE,
        says="h = 0.5*v + 0.5*x, s = [h >= 0.2], v = 0 where s, else h",
    ),
    Row("A rest potential", charging("""\
v = v + (self.fc1(x) - (v + 0.1)) / 2.0
s = (v >= 0.2).float()
v = s * -0.1 + (1 - s) * v
""", "v = torch.full((x.shape[0], 12), -0.1)"),
        calls=IMAGE,
        says="h = 0.5*v + 0.5*x + -0.05, s = [h >= 0.2], v = -0.1 where s, else h, v(0) = -0.1",
    ),
    Row("A learned leak", charging("""\
v = torch.sigmoid(self.leak) * v + self.fc1(x)
s = (v >= 0.4).float()
v = v * (1 - s)
"""),
        calls=IMAGE,
        says="h = 0.598688*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A learned threshold for each channel", charging("""\
v = 0.5 * v + self.fc1(x)
s = Spike.apply(v - self.threshold)
v = v - s * self.threshold
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= [0.2 … 0.6, 12 channels]], v = h - [0.2 … 0.6, 12 channels]*s",
    ),
    Row("No leak, half the threshold at the beginning (converted networks)", charging("""\
v = v + self.fc1(x)
s = (v >= 0.4).float() * 0.4
v = v - s
""", "v = torch.full((x.shape[0], 12), 0.2)"),
        calls=IMAGE,
        says="h = 1*v + x, s = [h >= 0.4], v = h - 0.4*s, v(0) = 0.2",
    ),
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
""",
        calls=IMAGE,
        says="i = 0.6*i + x, h = 0.5*v + i, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("Reset by the spike of the step before", """\
v = s = torch.zeros(x.shape[0], 12)
out = 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x) - 0.4 * s.detach()
    s = (v > 0.4).float()
    out = out + self.fc2(s)
return out / self.T
""",
        calls=IMAGE,
        says="h = 0.5*v + x - 0.4*s_last, s = [h > 0.4], v = h",
    ),
    Row("Several spikes at a step", charging("""\
v = 0.5 * v + self.fc1(x)
s = torch.floor(torch.clamp(v / 0.2, 0, 4))
v = v - 0.2 * s
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = floor(h / 0.2), at most 4, v = h - 0.2*s",
    ),
    Row("Recurrent: a layer reads the last spikes", """\
v = s = torch.zeros(x.shape[1], 12)
out = 0.0
for step in x:
    v = 0.5 * v * (1 - s) + self.fc1(step) + self.recurrent(s)
    s = (v >= 0.4).float()
    out = out + self.fc2(s)
return out / len(x)
""",
        calls=STEPS,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("The last layer gathers a membrane and never fires", """\
v, out = torch.zeros(x.shape[0], 12), torch.zeros(x.shape[0], 4)
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = 0.8 * out + self.fc2(s)
return out
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h; h = 0.8*v + x, v = h",
    ),
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
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h; h = 0.5*v + x, s = [h >= 0.1], v = h - 0.1*s",
    ),
    Row("A membrane that is not below zero", charging("""\
v = torch.relu(0.5 * v + self.fc1(x))
s = (v >= 0.4).float()
v = v - 0.4 * s
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = h - 0.4*s, floor 0",
    ),
    Row("Weights of one's own: `F.linear`, `@`", """\
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + x @ self.fc1.weight.t()
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + F.linear(s, self.fc2.weight)
return out / self.T
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A norm of all steps at once", """\
current = self.norm(self.fc1(x).permute(1, 2, 0)).permute(2, 0, 1)
v, spikes = 0.0, []
for step in current:
    v = 0.5 * v + step
    spikes.append((v >= 0.4).float())
    v = v * (1 - spikes[-1])
return self.fc2(torch.stack(spikes)).sum(0)
""",
        calls=STEPS,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A normal image inside the network", """\
x = (x - 0.5) / 0.25
v, out = torch.zeros(x.shape[0], 12), 0.0
for _ in range(self.T):
    v = 0.5 * v + self.fc1(x)
    s = (v >= 0.4).float()
    v = v * (1 - s)
    out = out + self.fc2(s)
return out / self.T
""",
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A random encoder in the network", charging("""\
coded = (torch.rand_like(x) < x).float()
v = 0.5 * v + self.fc1(coded)
s = (v >= 0.4).float()
v = v * (1 - s)
"""),
        calls=IMAGE,
        says="a random encoder, taken out: every step reads what it would encode; "
        "h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("Dropout and noise of the training", charging("""\
v = 0.5 * v + F.dropout(self.fc1(x), 0.2, self.training)
if self.training:
    v = v + 0.1 * torch.randn_like(v)
s = (v >= 0.4).float()
v = v * (1 - s)
"""),
        calls=IMAGE,
        says="h = 0.5*v + x, s = [h >= 0.4], v = 0 where s, else h",
    ),
    Row("A neuron module over all steps", """\
class Neuron(nn.Module):
    def forward(self, x):  # [T, N, C]
        v, spikes = torch.zeros_like(x[0]), []
        for t in range(x.shape[0]):
            v = v + (x[t] - v) * 0.5
            spikes.append(Spike.apply(v - 0.2))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes, 0)
""",
        neuron=True,
        calls=STEPS,
        says="h = 0.5*v + 0.5*x, s = [h >= 0.2], v = 0 where s, else h",
    ),
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
""",
        neuron=True,
        calls=ONE_STEP,
        says="h = 0.5*v + x, s = [h >= 0.3], v = h - 0.3*s",
    ),
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
""",
        neuron=True,
        calls=STEPS,
        says="h = 0.5*v + x, s = [h >= 0.3], v = 0 where s, else h",
    ),
)
# fmt: on
