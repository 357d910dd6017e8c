"""Train the network on the embedded digits, as sinabs' tutorials do, and save its state dict.

    python train.py --seed 0 --output weights.pt

The batches are those of `mdcompress`, so that training never sees its test images; the rest is sinabs.
"""

import argparse

import torch
import torch.nn.functional as F
from network import BATCH_SIZE, network
from sinabs.utils import reset_states, zero_grad

from mdcompress.data import load_data
from mdcompress.recipe import load_recipe


def train(seed, epochs):
    """A trained network."""
    torch.manual_seed(seed)
    net = network()
    batches = load_data(load_recipe("8bit").data, seed=seed).train
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for x, labels in batches:  # [T, N, 1, 8, 8]
            if len(labels) < BATCH_SIZE:
                continue  # the layers were made for whole batches
            reset_states(net)
            zero_grad(net)
            frames = x.transpose(0, 1).flatten(0, 1)  # sinabs puts the batch first
            currents = net(frames).unflatten(0, (BATCH_SIZE, len(x)))
            loss = F.cross_entropy(currents.mean(1), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--output", default="weights.pt")
    options = parser.parse_args()
    torch.save(train(options.seed, options.epochs).state_dict(), options.output)
