"""Names of decays, and power-function averages of a module against the weighted sum of its past."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from depthdif.ema import ModuleAverages, averaged
from depthdif.ema.decay import (
    WIDEST,
    PowerDecay,
    decay_label,
    effective_decay,
    format_decay,
    parse_decay,
)


@given(st.one_of(st.floats(0, 1), st.floats(1e-6, WIDEST).map(PowerDecay)))
def test_a_decay_is_read_back_from_its_name(decay: float | PowerDecay) -> None:
    assert parse_decay(format_decay(decay)) == parse_decay(str(decay)) == parse_decay(f"ema_{decay}") == decay


def test_a_constant_stays_a_number_and_a_width_has_a_name() -> None:
    assert format_decay(0.99) == 0.99
    assert format_decay(PowerDecay(0.1)) == "width_0.1"
    assert parse_decay("width_0.10") == PowerDecay(0.1)
    assert (decay_label(0.99), decay_label(PowerDecay(0.05))) == ("decay 0.99", "width 0.05")


@pytest.mark.parametrize("width", [0.0, -1.0, 0.3, float("nan"), float("inf")])
def test_a_width_out_of_range_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and at most 0\.2887, got .*; set width_0\.05"):
        PowerDecay(width)


@pytest.mark.parametrize("name", ["width_", "width_x", "fast", "width_0.5"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"could not convert|relative width"):
        parse_decay(name)


def test_a_power_function_ignores_the_warm_up_and_a_constant_follows_it() -> None:
    decay = PowerDecay(0.1)
    assert effective_decay(decay, 0) == 0
    assert effective_decay(decay, 9, warmup=True) == effective_decay(decay, 9) == 0.9 ** (decay.gamma + 1)
    assert effective_decay(0.99, 0, warmup=True) == 0.1
    assert effective_decay(0.99, 0) == 0.99


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.25])
def test_the_tracked_average_is_the_weighted_sum_of_all_updates_and_forgets_the_initial_weights(
    width: float,
) -> None:
    steps, decay = 60, PowerDecay(width)
    past = torch.randn(steps, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    module = nn.Linear(5, 1, bias=False, dtype=torch.float64)
    module.weight.data.fill_(1e6)
    averages = ModuleAverages(module, [decay, 0.9])
    for weights in past:
        module.weight.data.copy_(weights[None])
        averages.update()
    share = torch.as_tensor(np.diff((np.arange(steps + 1) / steps) ** (decay.gamma + 1)))
    assert torch.allclose(averages.state(decay)["weight"][0], share @ past, rtol=1e-10, atol=1e-10)
    with averaged(module, decay):
        assert torch.equal(module.weight, averages.state(decay)["weight"])
    assert torch.equal(module.weight[0], past[-1])
