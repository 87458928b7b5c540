from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from depthdif.training import train


def test_each_validation_prints_the_score_of_every_variant(
    small_run: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = "callbacks.progress={_target_:depthdif.callbacks.progress.StepProgress}"
    train(
        small_run(
            "trainer.max_steps=3", "trainer.val_check_interval=2", "logger=csv", "model/ema=quick", progress
        )
    )
    printed = capsys.readouterr().out
    for step in (2, 3):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"step {step}: ")]
        assert "standard" in line
        assert "ema" in line
    assert "3/3 steps" in printed
