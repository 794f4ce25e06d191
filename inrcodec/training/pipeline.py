"""The whole of training: the codec, then its head, then the tables, then a model folder with a card."""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from inrcodec.fields.grids import channels_last
from inrcodec.priors.context import OPERATING_POINTS
from inrcodec.training import calibration, closing, data, export, head, loop, workers
from inrcodec.training.checkpoint import Progress
from inrcodec.training.loop import Recipe

CALIBRATION_BATCHES = 60
POINT_BATCHES = 40
CLOSING_TURN = 8  # crops that nothing else has seen


def train(recipe: Recipe, folder: Path, out: Path, progress: Progress = lambda *_: None) -> Path:
    """Train on the images of a folder; returns the model folder, `out/<name>`. Goes on where a run stopped."""
    net = loop.train(recipe, folder, out, progress)
    if workers.join()[0]:  # the first of several processes does the rest
        return out / recipe.name
    head.train(net, recipe, folder, out, progress)
    supply = recipe.supply(folder)
    calibration.points(net, lambda turn: crops(recipe, supply, POINT_BATCHES, turn, alike=True))
    if net.closing is not None:
        signals = closing.samples(net, crops(recipe, supply, closing.SIGNALS // 8, CLOSING_TURN))
        closing.fit(net.closing, signals, progress)
    tails, saved = calibration.fit(calibration.residuals(net, crops(recipe, supply, CALIBRATION_BATCHES)))
    model = out / recipe.name
    more: dict[str, object] = {"modality": recipe.modality, "description": recipe.description}
    more |= {"range": recipe.range} if recipe.range else {}
    more |= {"span": recipe.span} if recipe.span != 1 else {}
    export.write(net, tails, model, more)
    (model / "CARD.md").write_text(card(recipe, folder, out, saved))
    return model


def crops(
    recipe: Recipe, supply: data.Supply, count: int, turn: int = 0, alike: bool = False
) -> Iterator[calibration.Batch]:
    """Training crops at random operating points. turn: which of many sets; alike: one operating point a batch."""
    for k in range(turn * count, (turn + 1) * count):
        x, places = supply.batch(8, recipe.side(recipe.crop), 7_000_003 + k)
        op = torch.from_numpy(data.generator(k).integers(0, OPERATING_POINTS, 8))
        yield channels_last(x), op[:1].expand(8) if alike else op, places


def card(recipe: Recipe, folder: Path, out: Path, saved: float) -> str:
    """What the model is and how it came to be, from the logs of the run."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    files = sum(1 for _ in folder.iterdir())
    log = out / "head.jsonl"
    heads = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    lines = [
        f"# {recipe.name}",
        "",
        f"A pyramid for signals of kind '{recipe.modality}', trained on `{folder.name}`, {files} files.",
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(asdict(recipe), indent=1),
        "```",
        "",
        f"Hardware: {platform.processor() or platform.machine()}, {os.cpu_count()} cores. Calibrated tables save"
        f" {100 * saved:.2f} % of the rate of logistic ones on training crops.",
        "",
        "## Training curve",
        "",
        "Validation crops, amortised start, estimated rates, at operating points 40, 85, 130, 175, 220.",
        "Seconds count from the last start or resumption.",
        "",
        "| step | seconds | mean ln(R + λD) | bpp | PSNR |",
        "| ---: | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        bpp, psnr = (" ".join(f"{v:.{n}f}" for v in row[key]) for key, n in (("bpp", 3), ("psnr", 2)))
        mean = sum(row["J"]) / len(row["J"])
        lines.append(f"| {row['step']} | {row['seconds']:.0f} | {mean:.4f} | {bpp} | {psnr} |")
    if heads:
        last = heads[-1]
        lines += [
            "",
            f"Head: {last['step']} steps, {last['gain_db']:+.2f} dB over cubic interpolation (validation).",
        ]
    return "\n".join([*lines, ""])
