"""Classify pictures by their modulations alone: a small MLP, trained on one functaset and tested on another.

inrcodec functaset cifar10/train -o train.h5 && inrcodec functaset cifar10/test -o test.h5
python classify.py train.h5 test.h5
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def load(path: str, folder: str | None) -> tuple[Tensor, Tensor]:
    """Modulations [N, D], those of all patches of a picture one after the other, and labels [N].

    With a folder, the pixels of the same pictures in place of their modulations.
    """
    with h5py.File(path) as file:
        values, names, labels = file["modulations"][:], file["names"].asstr()[:], file["labels"][:]
    if folder is not None:
        values = np.stack([np.asarray(Image.open(Path(folder, name)), np.float32) for name in names])
    return torch.from_numpy(values).flatten(1), torch.from_numpy(labels)


def accuracy(net: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of pictures that are classified right."""
    with torch.no_grad():
        return (net(x).argmax(1) == labels).float().mean().item()


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--pixels", nargs=2, metavar=("TRAIN", "TEST"), default=(None, None))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--width", type=int, default=256)
    given = parser.parse_args(arguments)
    torch.manual_seed(0)
    x, labels = load(given.train, given.pixels[0])
    x_test, labels_test = load(given.test, given.pixels[1])
    mean, std = x.mean(0), x.std(0) + 1e-6  # every dimension has a range of its own
    x, x_test = (x - mean) / std, (x_test - mean) / std

    classes = int(labels.max()) + 1
    layers = [nn.Linear(x.shape[1], given.width), nn.GELU(), nn.Dropout(0.5), nn.Linear(given.width, classes)]
    net = nn.Sequential(*layers)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(given.epochs):
        net.train()
        for part, wanted in DataLoader(TensorDataset(x, labels), batch_size=64, shuffle=True):
            loss = F.cross_entropy(net(part), wanted, label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    net.eval()
    found = accuracy(net, x_test, labels_test)
    print(f"{len(x)} pictures: {accuracy(net, x, labels):.1%} right; {len(x_test)} others: {found:.1%}")
    return found


if __name__ == "__main__":
    main()
