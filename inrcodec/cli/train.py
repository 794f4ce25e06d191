"""`inrcodec train`."""

from inrcodec.allocator import keep_memory
from inrcodec.cli.options import Config, Data, Out
from inrcodec.cli.voice import rich_progress
from inrcodec.errors import InputNotFound


def train(config: Config, data: Data, out: Out) -> None:
    """Train a base network."""
    for path in (config, data):
        if not path.exists():
            raise InputNotFound(f"{path}: there is no such file or folder")
    keep_memory()
    from inrcodec.training import loop, pipeline

    recipe = loop.Recipe.load(config)
    with rich_progress() as bar:
        task = bar.add_task(recipe.name)

        def show(step: int, steps: int, figures: str) -> None:
            bar.update(task, completed=step, total=steps, description=f"{recipe.name}: {step} of {steps}, {figures}")

        folder = pipeline.train(recipe, data, out, show)
    print(folder)
