"""Searches folders for runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from depthdif import UserError
from depthdif.sweep.job import METRICS, RECORD

ADVICE = "set runs=[runs/DATE_TIME,runs/DATE_TIME], or the folder of a sweep: runs=[multirun/DATE_TIME]"
LEVELS = 3


def find_run_folders(folders: Sequence[str | Path]) -> list[Path]:
    """The run folders among `folders`, and those inside of the others; each once, a sweep in the order of its jobs.

    Raises:
        UserError: no folder, one that does not exist, or one that neither is a run nor contains any.
    """
    if not folders:
        raise UserError(f"runs=[]: expected run folders to compare; {ADVICE}")
    unique: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"runs=[{folder}]: no such folder; {ADVICE}")
        runs = list(runs_in(folder))
        if not runs:
            raise UserError(
                f"runs=[{folder}]: expected config.yaml, {METRICS.as_posix()} or panels/ in it, or in a "
                f"folder below it; {ADVICE}"
            )
        for run in runs:
            unique.setdefault(run.resolve(), run)
    return list(unique.values())


def runs_in(folder: Path, levels: int = LEVELS) -> Iterator[Path]:
    """The folder itself if it is a run, else the runs below it (names of jobs may contain slashes), 10 after 9."""
    if is_run(folder):
        yield folder
    elif levels:
        children = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
        for child in sorted(children, key=lambda path: re.sub(r"\d+", lambda n: n[0].zfill(20), path.name)):
            yield from runs_in(child, levels - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder belongs to a training run, however incomplete."""
    if any((folder / name).is_file() for name in ("config.yaml", METRICS, RECORD)):
        return True
    # A job that failed before it wrote anything leaves the files of Hydra; those of other scripts have no trainer.
    config = folder / ".hydra" / "config.yaml"
    return (folder / "panels").is_dir() or (
        config.is_file()
        and re.search("^trainer:", config.read_text(errors="replace"), re.MULTILINE) is not None
    )


def short_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that distinguish all folders."""
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("folders are distinct")
