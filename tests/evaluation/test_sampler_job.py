"""The whole benchmark of samplers, from a checkpoint to its files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from depthdif.checkpoints.trained_run import open_trained
from depthdif.evaluation.sampler_job import benchmark_sampler, candidates_of
from depthdif.training import train

CONF = Path(__file__).resolve().parents[2] / "conf"

# Of DEIS in diffusers.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")


@pytest.fixture
def compose_benchmark(tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes `conf/benchmark_sampler.yaml` with overrides."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("benchmark_sampler", [f"output_dir={tmp_path / 'benchmark'}", *overrides])

    return composed


def test_every_shipped_sampler_is_measured_or_said_to_fail(
    small_run: Callable[..., DictConfig],
    compose_benchmark: Callable[..., DictConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(small_run("data.field.depths=3", "data.field.times=1", "trainer.max_steps=1", "logger=csv"))
    cfg = compose_benchmark(
        f"checkpoint='{tmp_path / 'run/checkpoints/last.ckpt'}'",
        "patches=2", "ensemble_size=2", "evaluations=[3,2]",
    )  # fmt: skip
    points = benchmark_sampler(cfg, open_trained(cfg), torch.device("cpu"))
    assert len(points) == 2 * len(candidates_of(cfg))
    # Three evaluations are too few for no sampler; one does not know x0 prediction.
    assert {point.candidate.sampler for point in points if point.fault} == {"euler_ancestral"}
    with (tmp_path / "benchmark/samplers.csv").open() as file:
        assert [row["asked"] for row in csv.DictReader(file)] == ["2", "3"] * (len(points) // 2)
    assert (tmp_path / "benchmark/samplers.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    for words in ("RMSE of a sample", "RMSE of the mean of 2", "CRPS of 2", "spread/skill", "verdict:"):
        assert words in printed
    assert "euler_ancestral, leading at 2, 3: NotImplementedError" in printed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluations=[]", r"evaluations=\[\]; expected integers"),
        ("evaluations=[0,2]", r"evaluations=\[0, 2\]; expected integers"),
        ("samplers.ddim.spacings=[sideways]", r"names sideways; expected some of leading, trailing"),
        ("samplers=null", "samplers is empty"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    compose_benchmark: Callable[..., DictConfig], override: str, message: str
) -> None:
    cfg = compose_benchmark("checkpoint=none", override)
    with pytest.raises(ValueError, match=message) as error:
        benchmark_sampler(cfg, None, torch.device("cpu"))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
