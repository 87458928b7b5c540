"""What a user reads on the terminal: errors in one line, lines that are never broken, commands, one progress bar."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segments
from rich.table import Table

from depthdif import UserError
from depthdif.config_folder import CONF, config_groups, known_keys
from depthdif.files import near


def print_lines(console: Console, *lines: str) -> None:
    """Print lines as they are: paths and commands are never broken, because they are there to be copied."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def minimum_width(table: Table) -> int:
    """Columns of the terminal that a table needs so that no word of it is broken, and no line of a `no_wrap` column."""
    console = Console(width=10_000)
    for column in table.columns:
        if column.no_wrap:
            lines = [line for cell in (column.header, *column.cells) for line in str(cell).splitlines()]
            column.min_width = max(map(len, lines), default=0)
    return Measurement.get(console, console.options, table).minimum


def print_table(console: Console, table: Table) -> None:
    """Print a table, beyond the edge of the terminal where its words would else be broken.

    Columns of numbers are `no_wrap`; the others share the room that is left.
    """
    options = console.options.update(width=max(console.width, minimum_width(table)))
    console.print(Segments(console.render(table, options)), crop=False, end="")


def progress_bar(console: Console | None = None) -> Progress:
    """A bar with what is being done, the share that is done, and the time passed and left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def command(script: str) -> str:
    """How to run `script` (`train`, `posthoc_ema`, ...) in the way that the running program was started.

    `python scripts/train.py` for a script of the checkout, `depthdif-train` for a console entry point.
    """
    program = Path(sys.argv[0])
    if program.suffix == ".py" and program.parent.name == "scripts":
        return f"python {near(program.with_name(f'{script}.py'))}"
    if program.name.startswith("depthdif-") or not (CONF.parent / "scripts").is_dir():
        return f"depthdif-{script.replace('_', '-')}"
    return f"python scripts/{script}.py"


def lines_about(error: Exception, config_name: str) -> list[str]:
    """What to print about an error that the user can correct; nothing for a bug.

    Such errors are `UserError`, OSError, the errors of Hydra and OmegaConf, Lightning's MisconfigurationException, and
    ValueError and TypeError of a constructor that the config names.
    """
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        correctable = is_misconfiguration(cause) or isinstance(cause, ValueError | OSError | TypeError)
        return [f"error: {in_one_line(cause)}"] if cause and correctable else []
    if isinstance(error, HydraException):
        causes = [str(error.__cause__)] if isinstance(error.__cause__, OmegaConfBaseException) else []
        # A benchmark has its root config elsewhere.
        keys = known_keys(config_name) if (CONF / f"{config_name}.yaml").is_file() else None
        return [str(error), *causes, *(suggestions(sys.argv[1:], keys) if keys else [])]
    in_job = any(frame.name == "main" for frame in traceback.extract_tb(error.__traceback__))
    if isinstance(error, OSError) and error.errno is not None and not in_job:
        advice = "set hydra.run.dir=FOLDER, or for a sweep hydra.sweep.dir=FOLDER"
        return [f"error: the run folder cannot be made ({in_one_line(error)}); {advice}"]
    if isinstance(error, UserError | OSError | OmegaConfBaseException) or is_misconfiguration(error):
        return [f"error: {in_one_line(error)}"]
    return []


def is_misconfiguration(error: BaseException | None) -> bool:
    """Whether Lightning refused the settings of the trainer; told by name, since importing Lightning takes seconds."""
    return any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__)


def in_one_line(error: BaseException) -> str:
    """The message of an error, its line breaks folded."""
    return " ".join(str(error).split()) or type(error).__name__


def suggestions(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """One line for each override in `arguments` whose key or option does not exist, with the nearest one that does.

    Args:
        arguments: of the command line.
        keys: the dotted keys that exist.
    """
    overrides = [
        argument.lstrip("+~") for argument in arguments if "=" in argument and not argument.startswith("-")
    ]
    groups = config_groups()
    known = [*keys, *groups]
    lines = []
    for key, _, value in (override.partition("=") for override in overrides):
        if key in groups and value not in groups[key]:
            lines.append(
                f"error: no option {key}={value}; the nearest valid one is {key}={nearest(value, groups[key])}"
            )
        elif key not in known and not key.startswith("hydra"):
            lines.append(f"error: no key {key!r}; the nearest valid one is {nearest(key, known)}")
    return lines


def nearest(word: str, known: Sequence[str]) -> str:
    """The most similar of the `known` words."""
    return difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]
