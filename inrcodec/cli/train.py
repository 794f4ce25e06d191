"""`inrcodec train`."""

import tomllib

from inrcodec.allocator import keep_memory
from inrcodec.cli.options import Config, Data, Out
from inrcodec.cli.voice import rich_progress
from inrcodec.errors import InputNotFound, UsageError


def train(config: Config, data: Data, out: Out) -> None:
    """Train a base network."""
    for path in (config, *data):
        if not path.exists():
            raise InputNotFound(f"{path}: there is no such file or folder")
    keep_memory()
    try:
        meta_learned = "method" in tomllib.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{config}: {error}") from None
    from inrcodec.training import loop, metapipeline, pipeline

    if not meta_learned and len(data) != 1:
        raise UsageError(f"{config}: this recipe takes one folder of signals, not {len(data)}")
    recipe = metapipeline.MetaRecipe.read(config) if meta_learned else loop.Recipe.load(config)
    with rich_progress() as bar:
        task = bar.add_task(config.stem)

        def show(step: int, steps: int, figures: str) -> None:
            bar.update(task, completed=step, total=steps, description=f"{config.stem}: {step} of {steps}, {figures}")

        if isinstance(recipe, metapipeline.MetaRecipe):
            folder = metapipeline.train(recipe, data, out, show)
        else:
            folder = pipeline.train(recipe, data[0], out, show)
    print(folder)
