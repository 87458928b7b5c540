from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from omegaconf import DictConfig

from depthdif.callbacks import panels
from depthdif.training import train

EMA = ("model/ema=quick", "trainer.max_steps=2", "trainer.val_check_interval=1")


def test_a_disk_that_is_full_costs_the_panels_but_not_the_training(
    small_run: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    def full(figure: Figure, path: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    handed_out: list[object] = []
    monkeypatch.setattr(panels, "save_figure", full)
    monkeypatch.setattr(panels, "log_pictures", lambda *arguments, **_: handed_out.append(arguments))
    with caplog.at_level(logging.WARNING, "depthdif.callbacks.panels"):
        train(small_run("logger=csv", *EMA))
    warned = [record.message for record in caplog.records if record.name == "depthdif.callbacks.panels"]
    assert warned == [
        "panels cannot be written ([Errno 28] No space left on device): training goes on without them"
    ]
    assert handed_out == []
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_a_panel_shows_one_member_beside_the_mean_and_every_variant_has_the_same_error_colours(
    small_run: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Figure] = []

    def kept(figure: Figure, path: Path) -> Path:
        drawn.append(figure)
        return save(figure, path)

    save = panels.save_figure
    monkeypatch.setattr(panels, "save_figure", kept)
    train(small_run("logger=csv", *EMA, "model.sampler.ensemble_size=2"))
    shown = [[text.get_text() for text in figure.findobj(Text)] for figure in drawn]
    assert [texts[0] if "weights" in texts[0] else texts for texts in shown] == [
        "standard weights, step 1", "EMA weights, step 1", "standard weights, step 2", "EMA weights, step 2",
    ]  # fmt: skip
    assert all(any(text.startswith("one member, RMSE") for text in texts) for texts in shown)
    limits = [[image.get_clim() for image in figure.axes[0].images] for figure in drawn]
    assert limits[2] == limits[3]
    assert len(list((tmp_path / "run" / "panels").glob("*.png"))) == 4


def test_an_ensemble_of_one_has_no_column_of_a_member(
    small_run: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(panels, "save_figure", lambda figure, path: drawn.append(figure) or path)
    train(small_run("logger=csv", "trainer.max_steps=1"))
    (figure,) = drawn
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any(text.startswith("reconstruction, RMSE") for text in texts)
    assert not any("member" in text for text in texts)
