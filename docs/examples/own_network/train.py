"""Train the network on the embedded digits, and save it as many training scripts do.

    python train.py

The batches are those of `mdcompress`, so that training never sees its test images.
"""

import argparse

import torch
import torch.nn.functional as F
from my_network import Net
from torch import nn

from mdcompress.data import load_data
from mdcompress.recipe import load_recipe

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=25)
    options = parser.parse_args()
    torch.manual_seed(0)
    net = nn.DataParallel(Net())
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    batches = load_data(load_recipe("8bit").data, seed=0).train
    for epoch in range(options.epochs):
        batches.set_epoch(epoch)
        for x, labels in batches:  # [T, N, 1, 8, 8], the same image at each step
            loss = F.cross_entropy(4 * net(x[0]), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    state = {"epoch": options.epochs, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, "model_best.pth.tar")
