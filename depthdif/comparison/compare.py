"""Compares runs: reads their folders, writes a page and a picture, logs the results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from depthdif import UserError
from depthdif.comparison.folders import find_run_folders
from depthdif.comparison.page import page, picture
from depthdif.comparison.panels import collect_panels
from depthdif.comparison.ranking import rankings, text_report
from depthdif.comparison.run import read_runs
from depthdif.files import write_text

log = logging.getLogger(__name__)

MEGABYTE = 1e6


def compare(runs: Sequence[str | Path], output_dir: str | Path, megabytes: float = 18) -> Path:
    """Compare run folders, or those in the folders of sweeps; runs may be incomplete or still in progress.

    Writes `compare.html`, one page that needs no other file, and `compare.svg`, a picture of its main charts, into
    `output_dir`; logs the results and both paths, and returns that of the page. `megabytes` limits the pictures of the page.
    Uses no network.

    Raises:
        UserError: no folder, or one that is no run; no positive size.
    """
    if not megabytes > 0:
        raise UserError(f"megabytes={megabytes}: expected a positive size of the page, such as megabytes=18")
    read = read_runs(find_run_folders([runs] if isinstance(runs, str) else runs))
    ranked = rankings(read)
    panels = collect_panels(read, megabytes * MEGABYTE)
    page_path, picture_path = (Path(output_dir) / name for name in ("compare.html", "compare.svg"))
    write_text(page_path, page(read, ranked, panels, datetime.now()))
    write_text(picture_path, picture(ranked))
    log.info("%s\n", text_report(read, ranked))
    log.info("page:    %s (%.1f MB)", page_path, page_path.stat().st_size / MEGABYTE)
    log.info("picture: %s", picture_path)
    return page_path
