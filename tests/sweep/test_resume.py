from __future__ import annotations

from pathlib import Path

from depthdif.sweep.job import BEFORE, METRICS, join, read_rows, set_aside


def log(folder: Path, text: str) -> None:
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / METRICS).write_text(text)


def test_rows_of_an_earlier_attempt_come_before_those_logged_since(tmp_path: Path) -> None:
    log(tmp_path, "step,loss\n1,a\n3,b\n5,c\n")
    set_aside(tmp_path)
    assert not (tmp_path / METRICS).exists()
    # Steps 4 and 5 were trained again from the checkpoint of step 3; a key is new.
    log(tmp_path, "step,loss,lr\n5,d,1\n7,e,2\n")
    join(tmp_path)
    assert [(row["step"], row["loss"], row["lr"]) for row in read_rows(tmp_path / METRICS)] == [
        ("1", "a", ""), ("3", "b", ""), ("5", "d", "1"), ("7", "e", "2")]  # fmt: skip
    assert not (tmp_path / BEFORE).exists()


def test_a_job_that_is_interrupted_twice_keeps_all_rows(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        log(tmp_path, f"step,loss\n{step},x\n")
        set_aside(tmp_path)
    join(tmp_path)
    assert [row["step"] for row in read_rows(tmp_path / METRICS)] == ["1", "2", "3"]


def test_without_anything_before_nothing_is_touched(tmp_path: Path) -> None:
    join(tmp_path)
    set_aside(tmp_path)
    assert not list(tmp_path.iterdir())
    log(tmp_path, "step,loss\n1,a\n")
    join(tmp_path)
    assert (tmp_path / METRICS).read_text() == "step,loss\n1,a\n"
