"""How many directions of its latents a base network uses, and what as many principal components would leave.

    python docs/examples/rank.py --train cifar10/train.npz --valid cifar10/valid.npz --method vcinr

Counts the singular values above 1/100 of the largest of the Jacobian of the features with respect to φ, at the φ of two
pictures; then says what so many principal components of training pictures leave of 64 others. A minute a picture.
"""

import argparse
from pathlib import Path

import torch
from orderings import network, pictures, psnr
from torch import Tensor

from inrcodec.coordinates import patch_coordinates
from inrcodec.innerloop import fit
from inrcodec.methods.meta import MetaModel

FITTED, PICTURES, LOOKED_AT, LEAST = 10000, 64, 2, 0.01


def rank(model: MetaModel, x: Tensor, phi: Tensor) -> int:
    """Of the Jacobian at φ [D]."""
    matrix = torch.autograd.functional.jacobian(lambda p: model.net(p[None], x).flatten(), phi)
    values = torch.linalg.svdvals(matrix)
    return int((values > LEAST * values[0]).sum())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--train", type=Path, required=True)
    arguments.add_argument("--valid", type=Path, required=True)
    arguments.add_argument("--method", default="vcinr")
    given = arguments.parse_args()
    model, y = network(given.method), pictures(given.valid, PICTURES)
    x, steps = patch_coordinates(model.options.patch, model.options.dims), model.options.test_steps
    phi = fit(model.net, x, y, steps)
    with torch.no_grad():
        quality = psnr(model.net(phi, x), y)
    used = max(rank(model, x, p) for p in phi[:LOOKED_AT])
    print(f"{given.method}: {used} of {model.options.latent} directions, {quality:.2f} dB after {steps} steps")
    train = pictures(given.train, FITTED).flatten(1)
    centred, others = train - train.mean(0), y.flatten(1) - train.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    for count in (used, model.options.latent):
        left = others - others @ axes[:, :count] @ axes[:, :count].T
        print(f"{count} principal components: {float(-10 * left.square().mean(1).log10().mean()):.2f} dB")


if __name__ == "__main__":
    main()
