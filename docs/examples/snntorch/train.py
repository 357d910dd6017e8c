"""Train the network on the embedded digits, as snnTorch's tutorials do, and save its state dict.

    python train.py --seed 0 --output weights.pt

The batches are those of `mdcompress`, so that training never sees its test images; the rest is snnTorch.
"""

import argparse

import torch
from network import Net
from snntorch import functional as SF

from mdcompress.data import load_data
from mdcompress.recipe import load_recipe


def train(seed, epochs):
    """A trained network."""
    torch.manual_seed(seed)
    net, loss = Net(), SF.ce_rate_loss()
    batches = load_data(load_recipe("8bit").data, seed=seed).train
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for x, labels in batches:  # [T, N, 1, 8, 8]; every step shows the same image
            spikes, _ = net(x[0])
            optimizer.zero_grad()
            loss(spikes, labels).backward()
            optimizer.step()
            schedule.step()
    return net


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--output", default="weights.pt")
    options = parser.parse_args()
    torch.save(train(options.seed, options.epochs).state_dict(), options.output)
