"""Output on the terminal: errors in one line, lines and tables without broken words, commands, a progress bar."""

from __future__ import annotations

import difflib
import logging
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segments
from rich.table import Table

from depthdif import UserError
from depthdif.config_folder import CONF, config_groups, known_keys
from depthdif.files import near

# Messages of Lightning about itself rather than about the run.
ABOUT_LIGHTNING = (
    "💡",
    "GPU available",
    "TPU available",
    "`Trainer.fit` stopped",
    "Restoring states",
    "Restored all states",
)


def print_lines(console: Console, *lines: str) -> None:
    """Print lines without wrapping: paths and commands in them are copied."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def minimum_width(table: Table) -> int:
    """Columns of the terminal that a table needs so that no word and no line of a `no_wrap` column is broken."""
    console = Console(width=10_000)
    for column in table.columns:
        if column.no_wrap:
            lines = [line for cell in (column.header, *column.cells) for line in str(cell).splitlines()]
            column.min_width = max(map(len, lines), default=0)
    return Measurement.get(console, console.options, table).minimum


def print_table(console: Console, table: Table) -> None:
    """Print a table, beyond the edge of the terminal where words would otherwise be broken.

    Columns of numbers are `no_wrap`; the others share the remaining width.
    """
    options = console.options.update(width=max(console.width, minimum_width(table)))
    console.print(Segments(console.render(table, options)), crop=False, end="")


def progress_bar(console: Console | None = None) -> Progress:
    """A bar with the current task, the completed percentage, and the time elapsed and left."""
    percentage = "{task.percentage:>3.0f} %"
    times = (TimeElapsedColumn(), "left", TimeRemainingColumn())
    return Progress("{task.description}", BarColumn(), percentage, *times, console=console)


def command(script: str) -> str:
    """The command that runs `script` (`train`, `posthoc_ema`, ...), in the form of the running program.

    `python scripts/train.py` for a script of the checkout, `depthdif-train` for a console entry point.
    """
    program = Path(sys.argv[0])
    if program.suffix == ".py" and program.parent.name == "scripts":
        return f"python {near(program.with_name(f'{script}.py'))}"
    if program.name.startswith("depthdif-") or not (CONF.parent / "scripts").is_dir():
        return f"depthdif-{script.replace('_', '-')}"
    return f"python scripts/{script}.py"


def lines_about(error: Exception, config_name: str) -> list[str]:
    """What to print about an error that the user can correct; empty for a bug.

    Such errors are `UserError`, OSError, the errors of Hydra and OmegaConf, Lightning's MisconfigurationException, and
    ValueError and TypeError of a constructor in the config.
    """
    cause = error.__cause__
    if isinstance(error, InstantiationException):
        correctable = is_misconfiguration(cause) or isinstance(cause, ValueError | OSError | TypeError)
        return [f"error: {in_one_line(cause)}"] if cause and correctable else []
    if isinstance(error, HydraException):
        lines = [str(error), *([str(cause)] if isinstance(cause, OmegaConfBaseException) else [])]
        # The root config of a benchmark is not in conf/.
        is_shipped = (CONF / f"{config_name}.yaml").is_file()
        return lines + suggestions(sys.argv[1:], known_keys(config_name)) if is_shipped else lines
    in_job = any(frame.name == "main" for frame in traceback.extract_tb(error.__traceback__))
    if isinstance(error, OSError) and error.errno is not None and not in_job:
        advice = "set hydra.run.dir=FOLDER, or for a sweep hydra.sweep.dir=FOLDER"
        return [f"error: the run folder cannot be made ({in_one_line(error)}); {advice}"]
    if isinstance(error, UserError | OSError | OmegaConfBaseException) or is_misconfiguration(error):
        return [f"error: {in_one_line(error)}"]
    return []


def is_misconfiguration(error: BaseException | None) -> bool:
    """Whether an error is a MisconfigurationException of Lightning or of a subclass, without importing Lightning (seconds)."""
    return any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__)


def in_one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def suggestions(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """One line for each override in the command line `arguments` whose key or option does not exist, with the nearest valid one.

    `keys` are the dotted keys that exist.
    """
    groups = config_groups()
    lines = []
    for argument in arguments:
        key, assigned, value = argument.lstrip("+~").partition("=")
        if not assigned or key.startswith("-"):
            continue
        if key not in groups and key not in keys and not key.startswith("hydra"):
            (nearest,) = difflib.get_close_matches(key, [*keys, *groups], n=1, cutoff=0.0)
            lines.append(f"error: no key {key!r}; the nearest valid one is {nearest}")
        elif value not in groups.get(key, [value]):
            (nearest,) = difflib.get_close_matches(value, groups[key], n=1, cutoff=0.0)
            lines.append(f"error: no option {key}={value}; the nearest valid one is {key}={nearest}")
    return lines


def silence_libraries() -> None:
    """Drop messages of the libraries that are not about the run and that a user cannot act on."""
    messages = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    messages.addFilter(lambda record: not record.getMessage().startswith(ABOUT_LIGHTNING))
    # A line of each process, where the first one says how many they are.
    logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    # Epochs have no meaning here, and may be shorter than the interval of logging.
    warnings.filterwarnings("ignore", message="The number of training batches")
    # A prediction writes its own output.
    warnings.filterwarnings("ignore", message="predict returned None")
    # A resumed run keeps its checkpoints in its own folder.
    warnings.filterwarnings("ignore", message="The dirpath has changed")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Small data are in memory, where worker processes have no use.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
