"""Finds the run folders among those given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from depthdif import UserError
from depthdif.comparison.scalars import METRICS_FILE
from depthdif.sweep.record import RECORD

ADVICE = "set runs=[runs/DATE_TIME,runs/DATE_TIME], or the folder of a sweep: runs=[multirun/DATE_TIME]"

LEVELS = 3


def find_run_folders(given: Sequence[str | Path]) -> list[Path]:
    """The run folders among `given`, and those inside of the others; each once, a sweep in the order of its jobs.

    Raises:
        UserError: no folder given, one that does not exist, or one that neither is a run nor holds any.
    """
    if not given:
        raise UserError(f"runs=[]: expected run folders to compare; {ADVICE}")
    runs_by_path: dict[Path, Path] = {}
    for folder in map(Path, given):
        if not folder.is_dir():
            raise UserError(f"runs=[{folder}]: no such folder; {ADVICE}")
        runs = list(runs_in(folder))
        if not runs:
            raise UserError(
                f"runs=[{folder}]: expected config.yaml, {METRICS_FILE.as_posix()} or panels/ in it, or in a "
                f"folder below it; {ADVICE}"
            )
        runs_by_path |= {run.resolve(): run for run in runs if run.resolve() not in runs_by_path}
    return list(runs_by_path.values())


def runs_in(folder: Path, levels: int = LEVELS) -> Iterator[Path]:
    """The folder itself if it is a run, else the runs below it; names of jobs may hold slashes."""
    if is_run(folder):
        yield folder
    elif levels:
        for child in sorted(folder.iterdir(), key=in_numeric_order):
            if child.is_dir() and not child.name.startswith("."):
                yield from runs_in(child, levels - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run, however little of it is there."""
    if any((folder / name).is_file() for name in ("config.yaml", METRICS_FILE, RECORD)):
        return True
    if (folder / "panels").is_dir():
        return True
    # A job that failed before it wrote anything leaves what Hydra keeps; those of other scripts train nothing.
    kept = folder / ".hydra" / "config.yaml"
    return (
        kept.is_file() and re.search(r"^trainer:", kept.read_text(errors="replace"), re.MULTILINE) is not None
    )


def in_numeric_order(folder: Path) -> list[tuple[int, int | str]]:
    """Sort key by which 10 comes after 9."""
    parts = re.split(r"(\d+)", folder.name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
