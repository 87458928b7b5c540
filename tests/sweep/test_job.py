from __future__ import annotations

from pathlib import Path

from depthdif.sweep.job import FAILED, JobRecord, read_record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = JobRecord(3, "decay=0.9", ["model.ema.decay=0.9"], FAILED, "außer Speicher", None, 1.5)
    record.write(tmp_path / "3")
    assert read_record(tmp_path / "3") == record
    assert [path.name for path in (tmp_path / "3").iterdir()] == ["job.json"]


def test_a_folder_without_a_record_has_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
