"""The PNG summary."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from depthdif.comparison.folders import find_run_folders
from depthdif.comparison.ranking import rankings
from depthdif.comparison.run import Run, read_runs
from depthdif.comparison.summary import summary


def test_the_summary_of_odd_runs_is_a_picture_with_something_on_it(odd_runs: Path) -> None:
    picture = Image.open(io.BytesIO(summary(rankings(read_runs(find_run_folders([odd_runs]))))))
    assert picture.size == (1650, 792)
    ink = np.asarray(picture.convert("L")) < 250
    assert all(part.mean() > 0.01 for part in np.array_split(ink, 3, axis=1))


def test_other_scores_make_another_picture(read_made: Callable[..., Run]) -> None:
    runs = [read_made("a", ratio=0.9), read_made("b", ratio=0.8)]
    assert summary(rankings(runs[:1])) != summary(rankings(runs[1:]))


def test_nothing_to_show_is_a_picture_that_says_so() -> None:
    assert Image.open(io.BytesIO(summary([]))).size == (1650, 792)
