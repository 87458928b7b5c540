from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from depthdif.weights_and_biases.job_name import MULTIRUN, job_label, short, short_names, swept_keys

TYPED = [
    "experiment=smoke",
    "model.ema.decay=0.9,0.99",
    "data.path='a,b'",
    "model.weight_decay=tag(log,interval(1e-5,1e-2))",
]


def begun(folder: Path, typed: list[str], params: dict[str, str] | None = None) -> Path:
    cfg = OmegaConf.create({"hydra": {"overrides": {"task": typed}, "sweeper": {"params": params}}})
    OmegaConf.save(cfg, folder / MULTIRUN)
    return folder


def test_the_swept_keys_are_those_with_several_values_typed_or_of_the_sweeper() -> None:
    params = {
        "model/ema": "suited",
        "model.optimizer.lr": "interval(1e-4,1e-2)",
        "model.ema.decay": "0.5,0.6",
    }
    cfg = OmegaConf.create({"hydra": {"overrides": {"task": TYPED}, "sweeper": {"params": params}}})
    assert swept_keys(cfg) == {"model.ema.decay", "model.weight_decay", "model.optimizer.lr"}


def test_a_typed_value_takes_a_parameter_out_of_the_search_and_out_of_the_label(tmp_path: Path) -> None:
    sweep = begun(
        tmp_path, ["seed=1,2", "model.optimizer.lr=1e-3"], {"model.optimizer.lr": "interval(1e-4,1e-2)"}
    )
    assert job_label(sweep, ["seed=2", "model.optimizer.lr=1e-3"]) == "seed=2"


def test_the_label_is_short_and_shows_the_decay(tmp_path: Path) -> None:
    sweep = begun(
        tmp_path, ["experiment=smoke", "model.ema.decay=0.9,0.9999", "model/denoiser=unet_tiny,unet_small"]
    )
    job = ["experiment=smoke", "model.ema.decay=0.9999", "model/denoiser=unet_tiny"]
    assert job_label(sweep, job) == "decay=0.9999 denoiser=unet_tiny"


def test_where_the_sweep_is_not_known_the_label_shows_all_overrides(tmp_path: Path) -> None:
    assert job_label(tmp_path, ["seed=2", "model.ema.decay=0.9"]) == "seed=2 decay=0.9"


def test_two_keys_with_the_same_last_word_keep_their_whole_names() -> None:
    assert short_names(["data.seed", "model.seed", "trainer.max_steps"]) == {
        "data.seed": "data.seed", "model.seed": "model.seed", "trainer.max_steps": "max_steps"}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0.08558894657793088", "0.0855889"), ("0.9999", "0.9999"), ("1e-3", "1e-3"), ("2018-01-01-x", "2018-01-01-x"),
     ("-0.00012345678901", "-0.000123457"), ("unet_small_1.0e", "unet_small_1.0e")],
)  # fmt: skip
def test_only_long_numbers_are_shortened(value: str, shown: str) -> None:
    assert short(value) == shown
