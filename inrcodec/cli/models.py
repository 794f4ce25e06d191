"""`inrcodec models`."""

import sys

import typer

from inrcodec import basemodels
from inrcodec.cli.options import ModelName
from inrcodec.cli.voice import complain
from inrcodec.errors import InrcodecError


def list_models(context: typer.Context) -> None:
    """List the installed base networks, or verify them."""
    if context.invoked_subcommand is not None:
        return
    models = list(basemodels.installed())
    if not models:
        print("no base network is installed", file=sys.stderr)
    for model in models:
        size = f"{_megabytes(model)} MB"
        print("  ".join([model.name, model.id.hex(), model.method, model.modality, size, model.description]))


def _megabytes(model: basemodels.ModelInfo) -> str:
    return f"{model.weights.stat().st_size / 1e6:.1f}" if model.weights.is_file() else "?"


def verify(context: typer.Context, name: ModelName = None) -> int:
    """Check the weights of base networks against their hashes."""
    first = 0
    for model in [basemodels.by_name(name)] if name else basemodels.installed():
        try:
            basemodels.verify(model)
            print(f"{model.name}  {model.id.hex()}  ok", flush=True)
        except InrcodecError as error:
            code = complain(error, context.obj)
            first = first or code
    return first
