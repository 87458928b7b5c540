"""Panels for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from depthdif.comparison.panels import collect_panels, spread
from depthdif.comparison.run import Run, read_run

ReadMade = Callable[..., Run]


def decoded(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")


def test_every_panel_is_there_and_looks_like_the_file(read_made: ReadMade) -> None:
    run = read_made(extra={0.9: 1.0})
    panels = collect_panels([run], 1e9)
    assert panels.steps == [150, 300, 450, 600]
    assert panels.remarks == []
    placed = {variant: sorted(steps) for variant, steps in panels.places["run"].items()}
    assert placed == dict.fromkeys(("standard", "ema", "ema_0.9"), panels.steps)
    for variant, by_step in run.panels.items():
        for step, path in by_step.items():
            shown = np.asarray(decoded(panels.pictures[panels.places["run"][variant][step]]), float)
            file = np.asarray(Image.open(path).convert("RGB"), float)
            assert np.abs(shown - file).mean() < 4


def test_identical_panels_are_kept_once(read_made: ReadMade) -> None:
    first, second = read_made("a"), read_made("b")
    for step, path in first.panels["standard"].items():
        second.panels["standard"][step].write_bytes(path.read_bytes())
    panels = collect_panels([first, second], 1e9)
    assert panels.places["a"]["standard"] == panels.places["b"]["standard"]
    assert len(panels.pictures) == 12


def test_the_page_keeps_its_size_and_every_run_its_last_step(read_made: ReadMade) -> None:
    runs = [read_made(str(number)) for number in range(3)]
    whole = sum(map(len, collect_panels(runs, 1e9).pictures))
    panels = collect_panels(runs, whole * 0.4)
    assert 0 < sum(map(len, panels.pictures)) <= whole * 0.4
    assert all(600 in panels.places[run.name][variant] for run in runs for variant in ("standard", "ema"))
    assert "left out" in panels.remarks[-1]
    assert "megabytes=" in panels.remarks[-1]


def test_a_full_page_stops_the_work(read_made: ReadMade, monkeypatch: pytest.MonkeyPatch) -> None:
    from depthdif.comparison import panels

    runs = [read_made(str(number)) for number in range(5)]
    done: list[Path] = []

    def counted(path: Path) -> str:
        done.append(path)
        return "x" * 100

    monkeypatch.setattr(panels, "recompressed", counted)
    monkeypatch.setattr(panels, "workers", lambda: 1)
    collected = collect_panels(runs, 1050)
    assert len(collected.pictures) == 10
    # 40 files in all; at most the batch in which the page got full goes to waste.
    assert len(done) <= 12


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_picture_that_cannot_be_read_is_left_out_with_a_remark(read_made: ReadMade, content: bytes) -> None:
    run = read_made()
    run.panels["ema"][600].write_bytes(content)
    panels = collect_panels([run], 1e9)
    assert 600 not in panels.places["run"]["ema"]
    assert len(panels.pictures) == 7
    assert panels.remarks == [f"{run.panels['ema'][600]} is no readable picture"]


def test_a_picture_that_is_only_half_written_or_has_vanished_is_left_out(read_made: ReadMade) -> None:
    run = read_made()
    half, gone = run.panels["ema"][150], run.panels["ema"][300]
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    gone.unlink()
    panels = collect_panels([run], 1e9)
    assert sorted(panels.places["run"]["ema"]) == [450, 600]
    assert len(panels.remarks) == 2


def test_runs_without_panels_have_none(tmp_path: Path) -> None:
    panels = collect_panels([read_run(tmp_path, "run")], 1e9)
    assert (panels.pictures, panels.places, panels.steps) == ([], {}, [])


@given(st.lists(st.integers(1, 1000), unique=True).map(sorted))
def test_steps_are_spread_without_loss(steps: Sequence[int]) -> None:
    assert sorted(spread(steps)) == list(steps)
    if len(steps) > 1:
        assert set(spread(steps)[:2]) == {steps[0], steps[-1]}
