"""The command line: parses, calls, prints, and maps errors to exit codes (table in `inrcodec.errors`).

Torch, numpy and rich are imported by the commands that need them, so that `--help` and `info` are quick.
"""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
import typer.main

from inrcodec.cli import bench, coding, functa, models, train
from inrcodec.cli.shell import Command, Group
from inrcodec.cli.voice import complain

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    cls=Group,
    help="A neural codec for any signal: files in, small .inr streams out, and back.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(cls=Group, help="List the installed base networks, or verify them.")
app.add_typer(models_app, name="models")

for command in (coding.encode, coding.decode, coding.info, train.train, bench.bench, functa.functaset, functa.sample):
    app.command(cls=Command)(command)
models_app.callback(invoke_without_command=True)(models.list_models)
models_app.command(cls=Command)(models.verify)


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
) -> None:
    context.obj = debug


def _version(asked: bool) -> None:
    if asked:
        from inrcodec import __version__

        print(f"inrcodec {__version__}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug, given = _debug_first(given)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called
            setattr(sys, name, open(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        with _unwinding():
            code = typer.main.get_command(app).main(given or ["--help"], "inrcodec", standalone_mode=False)
            sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return 1
    except Exception as error:
        return complain(error, debug)


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, so that an output in the making is removed.

    By SystemExit with 128 plus the number of the signal, as shells report it.
    """

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    handled = [n for n in (getattr(signal, name) for name in names) if signal.getsignal(n) == signal.SIG_DFL]
    for number in handled:  # not one that is ignored, as under nohup
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _debug_first(arguments: list[str]) -> tuple[bool, list[str]]:
    """Whether --debug is among the options, and the arguments with it in front: it is accepted anywhere."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, rest = arguments[:end], arguments[end:]
    if "--debug" not in options:
        return False, arguments
    return True, ["--debug", *(option for option in options if option != "--debug"), *rest]
