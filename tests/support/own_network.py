"""A small network for the digits as people write them: membranes are local variables, one image for all steps."""

from __future__ import annotations

OWN_NETWORK = """\
import torch
from torch import nn

DECAY, THRESHOLD, STEPS = 0.5, 0.5, 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8, momentum=0.2)
        self.pool = nn.AvgPool2d(2)
        self.hidden = nn.Linear(8 * 4 * 4, 48)
        self.head = nn.Linear(48, 10)
        self.leak = nn.Parameter(torch.tensor(0.75))

    def forward(self, image):
        v1 = v2 = s2 = total = 0.0
        for _ in range(STEPS):
            v1 = DECAY * v1 + self.norm(self.conv(image))
            s1 = (v1 > THRESHOLD).float()
            v1 = v1 * (1.0 - s1)
            v2 = self.leak * v2 * (1.0 - s2) + self.hidden(self.pool(s1).flatten(1))
            s2 = (v2 >= THRESHOLD).float()
            total = total + self.head(s2)
        return total / STEPS


def build():
    return Net()
"""

OWN_RECIPE = """\
schema: mdcompress.recipe/1
name: own
model: {builder: "own_net:build"}
teacher: {epochs: 2, optimizer: {lr: 0.02}, time_steps: [2, 4]}
distill: {epochs: 1, time_steps: [2, 4]}
data: {name: digits, time_steps: 4, batch_size: 256, calibration_samples: 128}
"""
