"""A spiking network as a research file has it: it knows nothing of mdcompress."""

import torch
import torch.nn.functional as F
from torch import nn

decay, thresh, lens, time_window = 0.5, 0.5, 0.5, 4


class ActFun(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.gt(thresh).float()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (abs(x - thresh) < lens).float()


act_fun = ActFun.apply


def mem_update(layer, x, mem, spike):
    mem = mem * decay * (1 - spike) + layer(x)
    return mem, act_fun(mem)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc1 = nn.Linear(16 * 2 * 2, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, image):  # [N, 1, 8, 8]
        n, device = image.shape[0], image.device
        c1_mem = c1_spike = torch.zeros(n, 8, 8, 8, device=device)
        c2_mem = c2_spike = torch.zeros(n, 16, 4, 4, device=device)
        h1_mem = h1_spike = torch.zeros(n, 64, device=device)
        h2_mem = h2_spike = h2_sum = torch.zeros(n, 10, device=device)
        for _ in range(time_window):
            c1_mem, c1_spike = mem_update(self.conv1, image, c1_mem, c1_spike)
            c2_mem, c2_spike = mem_update(self.conv2, F.avg_pool2d(c1_spike, 2), c2_mem, c2_spike)
            x = F.avg_pool2d(c2_spike, 2).view(n, -1)
            h1_mem, h1_spike = mem_update(self.fc1, x, h1_mem, h1_spike)
            h2_mem, h2_spike = mem_update(self.fc2, h1_spike, h2_mem, h2_spike)
            h2_sum = h2_sum + h2_spike
        return h2_sum / time_window
