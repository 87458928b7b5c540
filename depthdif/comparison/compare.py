"""Comparing runs, from their folders to a page, a picture and a verdict: reads as a table of contents."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from depthdif.comparison.folders import find_run_folders
from depthdif.comparison.page import page
from depthdif.comparison.panels import collect_panels
from depthdif.comparison.ranking import in_words, rankings
from depthdif.comparison.run import read_runs
from depthdif.comparison.summary import summary

log = logging.getLogger(__name__)

MEGABYTE = 1e6


def compare(runs: Sequence[str | Path], output_dir: str | Path, megabytes: float = 18) -> Path:
    """Compare run folders, or those in the folders of sweeps; nothing in them has to be whole or finished.

    Writes `compare.html`, one page that needs nothing else, and `compare.png` into `output_dir`; says the verdict and where
    they lie. Asks no network.

    Args:
        runs: folders.
        output_dir: where to write.
        megabytes: of pictures in the page, at most.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError, ValueError: no folder, or one that is no run; no positive size.
    """
    if not megabytes > 0:
        raise ValueError(f"megabytes={megabytes}: expected a positive size of the page, such as megabytes=18")
    read = read_runs(find_run_folders([runs] if isinstance(runs, str) else runs))
    ranked = rankings(read)
    panels = collect_panels(read, megabytes * MEGABYTE)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written = write(folder / "compare.html", page(read, ranked, panels, datetime.now()).encode())
    picture = write(folder / "compare.png", summary(ranked))
    log.info("%s\n\npage:    %s (%.1f MB)\npicture: %s", in_words(read, ranked), written,
             written.stat().st_size / MEGABYTE, picture)  # fmt: skip
    return written


def write(path: Path, content: bytes) -> Path:
    """Write beside `path`, then rename, so that no half file is ever seen."""
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    unfinished.write_bytes(content)
    return unfinished.replace(path)
