"""How typer shows the commands."""

import re
from typing import Any, cast

import typer.core


class Command(typer.core.TyperCommand):
    """A command with its options listed by panel in plain text: rich would take longer than all the rest."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            panel = "Arguments" if param.param_type_name == "argument" else "Options"
            panel = getattr(param, "rich_help_panel", None) or panel
            if record := param.get_help_record(ctx):
                names = re.sub(r" <(bool|str|list\[str\])>$", "", record[0])  # says nothing
                panels.setdefault(panel, []).append((names, record[1]))
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


class Group(typer.core.TyperGroup):
    """The same for a command with subcommands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        Command.format_options(cast(Command, self), ctx, formatter)
        self.format_commands(ctx, formatter)
