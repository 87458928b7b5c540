"""Scalars of a run as a CSV file that a resumed run continues."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from depthdif.files import read_csv, write_csv
from depthdif.loggers.metrics_file import STEP, header


class MetricsCSV(Logger):
    """Writes a row for each call of `log_metrics`, at once, so that no checkpoint is ahead of its rows.

    A row has the columns of all values that were ever logged, in alphabetical order, and `step`, which counts from 0.

    Args:
        path: of the file. Rows that it holds already stay: `drop_rows_from` removes those that will be logged again.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.columns: list[str] | None = None

    @property
    def name(self) -> str:
        """Name of the folder of the file."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Empty: there is one file."""
        return ""

    @property
    def save_dir(self) -> str:
        """Folder of the file."""
        return str(self.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row; a new key rewrites the file with one more column."""
        row = {**metrics, STEP: step}
        if self.columns is None:
            self.columns = header(self.path)
        if new := row.keys() - set(self.columns):
            self.columns = sorted([*self.columns, *new])
            write_csv(self.path, read_csv(self.path), self.columns)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config of a run is in its config.yaml."""
