"""Scalars out of a metrics.csv."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from depthdif.comparison.scalars import read_scalars


def written(folder: Path, content: str) -> Path:
    path = folder / "metrics.csv"
    path.write_bytes(content.encode())
    return path


def test_steps_are_counted_as_optimizer_steps_made(tmp_path: Path) -> None:
    scalars, remarks = read_scalars(written(tmp_path, "epoch,step,a\r\n0,3,1.5\r\n0,7,2.5\r\n"))
    assert scalars["a"] == {4: 1.5, 8: 2.5}
    assert remarks == []


def test_lines_of_one_step_are_one_and_empty_cells_are_no_values(tmp_path: Path) -> None:
    scalars, _ = read_scalars(written(tmp_path, "step,a,b\n9,1,\n9,,2\n"))
    assert scalars == {"a": {10: 1.0}, "b": {10: 2.0}}


def test_steps_out_of_order_are_sorted(tmp_path: Path) -> None:
    scalars, _ = read_scalars(written(tmp_path, "step,a\n9,1\n4,2\n"))
    assert list(scalars["a"]) == [5, 10]


def test_nan_is_a_value_that_was_logged(tmp_path: Path) -> None:
    scalars, _ = read_scalars(written(tmp_path, "step,a\n0,nan\n1,inf\n"))
    assert math.isnan(scalars["a"][1])
    assert math.isinf(scalars["a"][2])


@pytest.mark.parametrize("last", ["8,2", "8,2.0", "8", "8,2.0,", ""])
def test_an_unfinished_last_line_is_left_out_even_when_it_looks_whole(tmp_path: Path, last: str) -> None:
    scalars, remarks = read_scalars(written(tmp_path, f"step,a\n4,1.0\n{last}"))
    assert scalars == {"a": {5: 1.0}}
    assert bool(remarks) == bool(last)


def test_a_broken_line_is_left_out_with_a_remark(tmp_path: Path) -> None:
    scalars, remarks = read_scalars(written(tmp_path, "step,a\n4,1.0\nx,2\n5,1,2,3\n6\n7,4\n\x00\n"))
    assert scalars == {"a": {5: 1.0, 8: 4.0}}
    assert remarks == ["4 lines of metrics.csv cannot be read; they are left out"]


@pytest.mark.parametrize("content", ["", "\n", "step,a\n", "step,a", "a,b\n1,2\n"])
def test_an_empty_file_has_no_scalars_and_a_remark(tmp_path: Path, content: str) -> None:
    assert read_scalars(written(tmp_path, content)) == ({}, ["no scalars yet: metrics.csv is empty"])


def test_a_missing_file_has_no_scalars_and_a_remark(tmp_path: Path) -> None:
    assert read_scalars(tmp_path / "metrics.csv") == ({}, ["no scalars yet: metrics.csv is missing"])
