"""A convolutional snnTorch network in the form of its tutorial 6: explicit membranes, the time loop in `forward`."""

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """One image [N, 1, 8, 8], presented for `num_steps` steps, to spikes and membranes [T, N, 10]."""

    def __init__(self, num_steps=4, beta=0.9):
        super().__init__()
        self.num_steps = num_steps
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.lif1 = snn.Leaky(beta=beta)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.lif2 = snn.Leaky(beta=beta)
        self.fc1 = nn.Linear(24 * 2 * 2, 10)
        self.lif3 = snn.Leaky(beta=beta)

    def forward(self, x):
        """Present the image at every step."""
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spk3_rec, mem3_rec = [], []
        for _ in range(self.num_steps):
            cur1 = F.max_pool2d(self.conv1(x), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = F.max_pool2d(self.conv2(spk1), 2)
            spk2, mem2 = self.lif2(cur2, mem2)
            cur3 = self.fc1(spk2.flatten(1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec), torch.stack(mem3_rec)
