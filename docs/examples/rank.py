"""How many directions of its latents a base network uses, and what as many principal components would leave.

    python docs/examples/rank.py --train cifar10/train.npz --valid cifar10/valid.npz --model vcinr

Counts the singular values above 1/100 of the largest of the Jacobian of the features with respect to φ, at the φ of two
pictures; then says what so many principal components of training pictures leave of 64 others. A minute a picture.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inrcodec import basemodels
from inrcodec.coordinates import patch_coordinates
from inrcodec.innerloop import distortion, fit
from inrcodec.methods.meta import MetaModel

PICTURES, LOOKED_AT, LEAST = 64, 2, 0.01


def pictures(path: Path) -> Tensor:
    """An array `images` of 32 x 32: [n, 1024, 3] in [0, 1]."""
    with np.load(path, allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["images"]).view(-1, 1024, 3).float() / 255


def rank(model: MetaModel, x: Tensor, phi: Tensor) -> int:
    """Of the Jacobian at φ [D]."""
    matrix = torch.autograd.functional.jacobian(lambda p: model.net(p[None], x).flatten(), phi)
    values = torch.linalg.svdvals(matrix)
    return int((values > LEAST * values[0]).sum())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--train", type=Path, required=True)
    arguments.add_argument("--valid", type=Path, required=True)
    arguments.add_argument("--model", default="vcinr")
    given = arguments.parse_args()
    model = basemodels.load(basemodels.by_name(given.model), "cpu")
    assert isinstance(model, MetaModel)
    x, y = patch_coordinates(model.options.patch, model.options.dims), pictures(given.valid)[:PICTURES]
    phi = fit(model.net, x, y, model.options.test_steps)
    with torch.no_grad():
        psnr = float(-10 * distortion(model.net(phi, x), y).log10().mean())
    used = max(rank(model, x, p) for p in phi[:LOOKED_AT])
    print(f"{given.model}: {used} of {model.options.latent} directions, {psnr:.2f} dB after 10 steps")
    train = pictures(given.train).flatten(1)
    centred, others = train - train.mean(0), y.flatten(1) - train.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    for count in (used, model.options.latent):
        left = others - others @ axes[:, :count] @ axes[:, :count].T
        print(f"{count} principal components: {float(-10 * left.square().mean(1).log10().mean()):.2f} dB")


if __name__ == "__main__":
    main()
