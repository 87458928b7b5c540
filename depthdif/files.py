"""Atomic writing of files, their digests, and paths as they are printed."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it is renamed to `path` at the end of the block, or removed on an error.

    The folder is made where there is none. The temporary name keeps the suffix, by which libraries choose a format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_csv(
    path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as a CSV file atomically; a missing value, and None, become an empty cell.

    `columns` is their order; None takes the keys of all rows in the order of their first appearance.
    """
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; empty without the file."""
    if not Path(path).is_file():
        return []
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sha256(path: Path) -> str:
    """SHA-256 of a file, which distinguishes it from one that overwrites it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def near(path: str | Path) -> str:
    """The path relative to the working directory where it lies below it, else absolute."""
    path = Path(path).absolute()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
