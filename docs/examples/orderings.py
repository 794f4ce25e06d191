"""The orderings that the papers claim, on the networks that ship: one table each, real coded bytes.

    python docs/examples/orderings.py --train cifar10/train.npz --test cifar10/test.npz

Modulations of training pictures fit the statistics; modulations of test pictures are quantised, coded in one go and
decoded. bpp counts the coded bytes of all pictures, without headers.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inrcodec import basemodels
from inrcodec.coordinates import patch_coordinates
from inrcodec.innerloop import distortion, fit
from inrcodec.methods.coders import Coder, UniformCoder
from inrcodec.methods.meta import MetaModel
from inrcodec.training import coders

Decode = Callable[[Tensor], Tensor]


def pictures(path: Path, count: int) -> Tensor:
    """The first pictures of an array `images` of 32 x 32: [count, 1024, 3] in [0, 1]."""
    with np.load(path, allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["images"][:count]).view(-1, 1024, 3).float() / 255


def network(method: str) -> MetaModel:
    info = next(i for i in basemodels.installed() if i.method == method and i.modality == "image")
    model = basemodels.load(info, "cpu")
    assert isinstance(model, MetaModel)
    return model


def psnr(decoded: Tensor, y: Tensor) -> float:
    return float((-10 * distortion(decoded, y).log10()).mean())


def decoder(model: MetaModel) -> Decode:
    x = patch_coordinates(model.options.patch, model.dims)
    return lambda values: model.net(model.net.modulation.received(values), x)


def curve(coder: Coder, values: Tensor, y: Tensor, decode: Decode) -> list[tuple[float, float]]:
    """(bpp, PSNR) at every operating point."""
    out = []
    for point in range(coder.points):
        symbols = coder.quantise(values, point)
        data = coder.write(symbols.numpy(), point, (1, len(symbols)))
        rate = 8 * len(data) / (len(y) * y.shape[1])
        out.append((rate, psnr(decode(coder.dequantise(symbols, point)), y)))
    return out


def uniform(train: Tensor, per_dimension: bool) -> UniformCoder:
    coder = UniformCoder(train.shape[1], 2, 8, per_dimension)
    coders.fit_uniform(coder, train)
    return coder


def show(title: str, curves: dict[str, list[tuple[float, float]]]) -> None:
    print(f"\n{title}\n")
    for name, points in curves.items():
        print(f"  {name:36}" + "  ".join(f"{d:5.2f} dB @ {r:4.2f}" for r, d in points), flush=True)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--count", type=int, default=64, help="test pictures")
    parser.add_argument("--fitted", type=int, default=512, help="training pictures that statistics are fitted to")
    parser.add_argument("--effort", type=int, default=6)
    given = parser.parse_args()
    train, y = pictures(given.train, given.fitted), pictures(given.test, given.count)

    print(f"Before quantisation, PSNR of {len(y)} test pictures after K steps of the inner loop\n")
    for method in ("coinpp", "functa", "mscn", "vcinr", "spatial-functa"):
        net, options = network(method).net, network(method).options
        x = patch_coordinates(options.patch, options.dims)
        found = [f"K = {k}: {psnr(net(fit(net, x, y, k), x), y):.2f} dB" for k in (3, 10)]
        size = f"φ of {options.latent}, width {options.width}, depth {options.depth}"
        print(f"  {method:16}{size:38}{', '.join(found)}", flush=True)

    model = network("coinpp")
    train_values, values = model.adapt(train, given.effort), model.adapt(y, given.effort)
    decode = decoder(model)
    curves = {
        "one quantiser for all dimensions": curve(uniform(train_values, False), values, y, decode),
        "a quantiser for each dimension": curve(uniform(train_values, True), values, y, decode),
        "a quantiser each, flow as the prior": curve(network("flowcoin").coder, values, y, decode),
    }
    show("COIN++ and FlowCOIN: the same modulations under three coders", curves)

    model = network("vcinr")
    train_values, values = model.adapt(train, given.effort), model.adapt(y, given.effort)
    decode = decoder(model)
    curves = {
        "a quantiser for each dimension": curve(uniform(train_values, True), values, y, decode),
        "learned transform coding": curve(model.coder, values, y, decode),
    }
    show("VC-INR: the same modulations, uniformly quantised or transformed", curves)


if __name__ == "__main__":
    main()
