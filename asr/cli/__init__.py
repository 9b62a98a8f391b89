"""The command `asr`: one file per command, imported here, heavy imports inside them."""

from __future__ import annotations

import os
import sys
from typing import Annotated, cast

import typer

import asr
from asr.cli.bench import bench
from asr.cli.demo import demo
from asr.cli.eval import evaluate
from asr.cli.export import export
from asr.cli.graph import graph
from asr.cli.lexicon import lexicon
from asr.cli.lm import lm
from asr.cli.mic import mic
from asr.cli.prepare import prepare
from asr.cli.train import train
from asr.cli.transcribe import transcribe
from asr.errors import AsrError

(UsageError,) = typer.BadParameter.__bases__
"""What typer raises for every wrong command line; it exports the subclass only."""

app = typer.Typer(
    name="asr",
    help="Streaming speech recognition: live audio in, words out while the speaker is talking.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (transcribe, mic, demo, train, export, graph, bench):
    app.command()(command)
app.add_typer(prepare)
app.add_typer(lexicon)
app.add_typer(lm)
app.command("eval")(evaluate)


def _print_version(asked: bool) -> None:
    if asked:
        from asr.decoding.passing import COMPILED

        typer.echo(f"rill-asr {asr.__version__}, search in {'C' if COMPILED else 'numpy'}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; valid anywhere.")
    ] = False,
) -> None:
    """Options of every command; `main` looks for `--debug` itself."""


def main() -> None:
    """Run the command line; whatever goes wrong is one line on standard error."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        code = 1
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if debug:
            raise
        _discard_output()
        print(f"asr: {_line(error)}", file=sys.stderr)
        code = getattr(error, "exit_code", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _line(error: Exception) -> str:
    """What went wrong, as one line."""
    if isinstance(error, UsageError):
        wrong = cast("typer.BadParameter", error)
        command = wrong.ctx.command_path if wrong.ctx else "asr"
        return f"{wrong.format_message()} See `{command} --help`."
    if isinstance(error, AsrError):
        return " ".join(str(error).split("\n"))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'cannot write standard output'}: {error.strerror}"
    return f"{type(error).__name__}: {error}; this is a fault of Rill, see it with --debug"


def _discard_output() -> None:
    """Let what is still in the buffer of standard output go nowhere instead of failing again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
