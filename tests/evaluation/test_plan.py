from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from depthdif.evaluation.plan import EvaluationPlan

CONF = Path(__file__).resolve().parents[2] / "conf"


def plan(*overrides: str) -> EvaluationPlan:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return EvaluationPlan.from_config(
            compose("evaluate", ["checkpoint=some.ckpt", "output_dir=somewhere", *overrides])
        )


def test_the_shipped_config_is_a_plan() -> None:
    assert plan().weights == ["standard", "ema"]
    assert plan().patches is None
    assert plan().output_dir == Path("somewhere")
    assert set(plan().baselines) == {"idw", "oi"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("weights=[]", r"weights=\[\]; expected weights of the checkpoint"),
        ("ensemble_size=0", "ensemble_size=0; expected an integer of at least 1, such as ensemble_size=1"),
        ("ensemble_size=2.5", "ensemble_size=2.5; expected an integer"),
        ("bootstrap_samples=10", "bootstrap_samples=10; expected an integer of at least 100"),
        ("patches=0", "patches=0; expected an integer of at least 1"),
        ("seed=-1", "seed=-1; expected an integer of at least 0"),
        ("densities=[0.01,5]", r"densities=\[0.01, 5\]; expected shares"),
        ("panel_depths=[]", r"panel_depths=\[\]; expected metres"),
    ],
)
def test_a_value_out_of_range_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        plan(override)
    assert "\n" not in str(raised.value)


def test_an_option_of_the_baseline_is_chosen_by_its_name() -> None:
    chosen: dict[str, Any] = dict(plan("model/first_guess@baselines.oi=idw").baselines["oi"])
    assert chosen["_target_"].endswith("InverseDistance")
