"""The CSV file of scalars, against Lightning's own logger, and what an interruption leaves of it."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.loggers import CSVLogger

from depthdif.files import read_csv
from depthdif.loggers.metrics_csv import MetricsCSV
from depthdif.loggers.metrics_file import drop_rows_from, last_row_with

ROWS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b,c", "val/loss", "z"]), st.floats(allow_nan=False), min_size=1),
    max_size=8,
)


@given(ROWS)
def test_the_file_is_that_of_lightnings_logger(rows: list[dict[str, float]]) -> None:
    with TemporaryDirectory() as folder:
        ours, theirs = (
            MetricsCSV(Path(folder, "ours", "metrics.csv")),
            CSVLogger(folder, name="theirs", version=""),
        )
        for step, row in enumerate(rows):
            ours.log_metrics(row, step)
            theirs.log_metrics(row, step)
            theirs.save()
        assert read_csv(ours.path) == read_csv(Path(folder, "theirs", "metrics.csv"))


@given(ROWS, st.data())
def test_a_run_that_is_cut_and_goes_on_leaves_the_file_of_the_uninterrupted_one(
    rows: list[dict[str, float]], data: st.DataObject
) -> None:
    checkpoint = data.draw(st.integers(0, len(rows)))
    cut = data.draw(st.integers(checkpoint, len(rows)))
    with TemporaryDirectory() as folder:
        whole, resumed = Path(folder, "whole.csv"), Path(folder, "resumed.csv")
        log(whole, rows, 0, len(rows))
        log(resumed, rows, 0, cut)
        drop_rows_from(resumed, checkpoint)
        log(resumed, rows, checkpoint, len(rows))
        # A key of the dropped rows keeps its column.
        assert [nonempty(row) for row in read_csv(resumed)] == [nonempty(row) for row in read_csv(whole)]


def log(path: Path, rows: list[dict[str, float]], first: int, last: int) -> None:
    logger = MetricsCSV(path)
    for step in range(first, last):
        logger.log_metrics(rows[step], step)


def nonempty(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if value}


def test_a_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path / "metrics" / "metrics.csv")
    logger.log_metrics({"loss": 0.5}, 3)
    assert logger.path.read_text() == "loss,step\n0.5,3\n"
    logger.log_metrics({"lr": 0.1}, 4)
    assert logger.path.read_text() == "loss,lr,step\n0.5,,3\n,0.1,4\n"
    assert [path.name for path in logger.path.parent.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("torn", ["0.2,1", "0.25,5", "0.3"])
def test_a_last_row_that_was_not_written_whole_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"loss,step\n0.5,0\n{torn}")
    drop_rows_from(path, 9)
    assert path.read_text() == "loss,step\n0.5,0\n"


def test_a_file_without_rows_before_the_step_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    drop_rows_from(path, 0)
    path.write_text("loss,step\n0.5,0\n")
    drop_rows_from(path, 0)
    assert not list(tmp_path.iterdir())


def test_the_last_row_with_a_key_is_read_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("loss,step,val\n,0,1.5\n,1,nan\n0.5,2,\n")
    row = last_row_with(path, "val")
    assert row["step"] == 1
    assert math.isnan(row["val"])
    assert row.keys() == {"step", "val"}
    assert last_row_with(path, "other") == {}
    assert last_row_with(tmp_path / "none.csv", "val") == {}
