"""The folder of snapshots: bounded, evenly thinned, whole at any moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from depthdif.ema.snapshots import (
    MANIFEST,
    Manifest,
    Snapshot,
    inherit,
    read_manifest,
    shapes_in,
    thinned,
    write_snapshot,
)

AVERAGES = {"width_0.05": {"a": torch.arange(6.0).reshape(2, 3)}, "width_0.1": {"a": torch.ones(2, 3)}}


def snapshot(step: int) -> Snapshot:
    return Snapshot(f"step-{step:08d}.safetensors", step, step, ("width_0.05",), 0)


def taken(steps: int, every: int, keep: int, manifest: Manifest | None = None, first: int = 1) -> Manifest:
    """What is kept after so many optimizer steps."""
    manifest = manifest or Manifest(every)
    for step in range(first, steps + 1):
        if step % manifest.every_n_steps == 0:
            manifest = thinned(Manifest(manifest.every_n_steps, (*manifest.snapshots, snapshot(step))), keep)
    return manifest


def write(folder: Path, *steps: int, keep: int = 8, dtype: torch.dtype = torch.float32) -> Manifest:
    manifest = Manifest(10)
    for step in steps:
        manifest = write_snapshot(folder, manifest, AVERAGES, step, step, dtype, keep)
    return manifest


@given(steps=st.integers(1, 3000), every=st.integers(1, 20), keep=st.integers(4, 40))
def test_snapshots_are_bounded_in_number_and_even_over_the_run(steps: int, every: int, keep: int) -> None:
    manifest = taken(steps, every, keep)
    kept = [s.step for s in manifest.snapshots]
    assert len(kept) <= keep
    # The newest is always there, on or off the grid.
    assert kept[:-1] == list(range(0, max(kept, default=0), manifest.every_n_steps))[1:]
    assert max(kept, default=0) > steps - manifest.every_n_steps
    if steps >= every * keep:
        assert len(kept) >= keep // 2


@given(steps=st.integers(2, 1500), every=st.integers(1, 20), keep=st.integers(4, 20), data=st.data())
def test_a_run_that_was_cut_keeps_what_the_uninterrupted_one_keeps(
    steps: int, every: int, keep: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, steps - 1))
    first = taken(cut, every, keep)
    # The last step of a run is taken too, on or off the grid.
    last = () if first.snapshots and first.snapshots[-1].step == cut else (snapshot(cut),)
    first = thinned(Manifest(first.every_n_steps, (*first.snapshots, *last)), keep)
    second = taken(steps, every, keep, first, first=cut + 1)
    uninterrupted = taken(steps, every, keep)
    if second.snapshots[-1].step > cut and uninterrupted.every_n_steps == second.every_n_steps:
        assert second == uninterrupted


def test_a_snapshot_holds_the_floating_tensors_of_each_average(tmp_path: Path) -> None:
    mask = torch.tensor([0.0, -torch.inf])
    averages = {"width_0.05": {"a": torch.ones(2), "n": torch.tensor(3), "mask": mask, "tied": mask[:1]}}
    averages["width_0.05"]["again"] = averages["width_0.05"]["a"]
    write_snapshot(tmp_path, Manifest(1), averages, 7, 5, torch.float32, keep=4)
    file = tmp_path / "step-00000007.safetensors"
    assert set(load_file(file)) == {"width_0.05/a", "width_0.05/tied", "width_0.05/again"}
    (row,) = read_manifest(tmp_path).snapshots
    assert row == Snapshot(file.name, 7, 5, ("width_0.05",), file.stat().st_size)
    (tmp_path / "plain").touch()
    assert file.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_float16_halves_the_file_and_leaves_what_it_cannot_hold(tmp_path: Path) -> None:
    averages = {"width_0.05": {"a": torch.full((10_000,), 1 / 3), "large": torch.tensor([1e6])}}
    for dtype in (torch.float16, torch.float32):
        write_snapshot(tmp_path / str(dtype), Manifest(1), averages, 1, 1, dtype, keep=4)
    half, full = (load_file(next((tmp_path / str(d)).glob("step*"))) for d in (torch.float16, torch.float32))
    assert half["width_0.05/a"].dtype == torch.float16
    assert half["width_0.05/large"].item() == full["width_0.05/large"].item() == 1e6
    assert torch.equal(full["width_0.05/a"], averages["width_0.05"]["a"])


def test_the_folder_holds_what_the_manifest_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "step-00000003.unfinished").touch()
    manifest = write(tmp_path, *range(10, 100, 10), keep=4)
    assert [s.step for s in manifest.snapshots] == [40, 80, 90]
    assert manifest.every_n_steps == 40
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        MANIFEST, *(f"step-{step:08d}.safetensors" for step in (40, 80, 90))
    ]  # fmt: skip
    assert read_manifest(tmp_path) == manifest


def test_a_write_that_is_cut_off_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(tmp_path, 10, 20)

    def full_disk(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_snapshot(tmp_path, before, AVERAGES, 30, 30, torch.float32, keep=8)
    assert read_manifest(tmp_path) == before
    assert all(shapes_in(tmp_path, s) for s in before.snapshots)


def test_a_resumed_run_takes_over_the_snapshots_until_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "one", 10, 20, 30, 40)
    manifest = inherit(tmp_path / "two", tmp_path / "one", updates=25)
    assert manifest is not None
    assert [s.step for s in manifest.snapshots] == [10, 20]
    assert read_manifest(tmp_path / "two") == manifest
    assert len(read_manifest(tmp_path / "one").snapshots) == 4
    for s in manifest.snapshots:
        assert (tmp_path / "two" / s.file).read_bytes() == (tmp_path / "one" / s.file).read_bytes()
    assert inherit(tmp_path / "three", tmp_path / "one", updates=5) is None
    assert not (tmp_path / "three").exists()
    # In the same folder, those that the run will make again go.
    inherit(tmp_path / "one", tmp_path / "one", updates=20)
    assert sorted(path.name for path in (tmp_path / "one").glob("step*")) == [
        f"step-{step:08d}.safetensors" for step in (10, 20)
    ]


def test_the_error_about_a_folder_without_snapshots_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no snapshots.*train with model/ema=power first"):
        read_manifest(tmp_path / "none")
    (tmp_path / MANIFEST).write_text('{"every_n_steps": 10, "snapshots": []}')
    with pytest.raises(ValueError, match="lists no snapshot"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"every_n_steps": 3}', '{"every_n_steps": 1, "snapshots": [{"a": 1}]}']
)
def test_a_manifest_that_cannot_be_read_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match="truncated or no manifest of snapshots") as error:
        read_manifest(tmp_path)
    assert "\n" not in str(error.value)


def test_a_damaged_snapshot_is_one_clear_error(tmp_path: Path) -> None:
    (row,) = write(tmp_path, 10).snapshots
    path = tmp_path / row.file
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(
        ValueError, match=r"truncated.*to go on without it, remove its line from .*manifest\.json"
    ):
        shapes_in(tmp_path, row)
    path.write_bytes(b"x" * len(whole))
    with pytest.raises(ValueError, match="no safetensors file"):
        shapes_in(tmp_path, row)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="the manifest lists it, but there is no such file"):
        shapes_in(tmp_path, row)


def test_each_snapshot_is_one_line_of_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, 10, 20)
    lines = (tmp_path / MANIFEST).read_text().splitlines()
    assert [json.loads(line.strip(" ,"))["step"] for line in lines if "step-" in line] == [10, 20]
