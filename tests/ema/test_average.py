"""The plain average against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthdif.ema import EMA


@given(decay=st.floats(0, 1), values=st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_the_average_is_the_weighted_sum_of_the_past(decay: float, values: list[float]) -> None:
    ema = EMA(decay)
    ema.register({"w": np.array([values[0]])})
    for value in values[1:]:
        ema.update({"w": np.array([value])})
    steps = len(values) - 1
    kernel = [decay**steps] + [(1 - decay) * decay ** (steps - i) for i in range(1, steps + 1)]
    assert ema.shadow_params["w"] == pytest.approx(np.dot(kernel, values), abs=1e-9)


@given(decay=st.floats(0, 1), value=st.floats(-1e3, 1e3, width=32))
def test_constant_weights_are_an_exact_fixed_point(decay: float, value: float) -> None:
    for array in (np.array([value], np.float32), torch.tensor([value])):
        ema = EMA(decay)
        ema.register({"w": array})
        for _ in range(50):
            ema.update({"w": array})
        assert (ema.shadow_params["w"] == array).all()


def test_numpy_and_torch_agree_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    for decay in (0.3, 0.5, 0.999):
        numpy_ema, torch_ema = EMA(decay), EMA(decay)
        weights = rng.normal(size=(4, 3)).astype(np.float32)
        numpy_ema.register({"w": weights})
        torch_ema.register({"w": torch.tensor(weights)})
        weights = rng.normal(size=(4, 3)).astype(np.float32)
        numpy_ema.update({"w": weights})
        torch_ema.update({"w": torch.tensor(weights)})
        np.testing.assert_allclose(
            torch_ema.shadow_params["w"].numpy(), numpy_ema.shadow_params["w"], rtol=2e-7
        )


def test_apply_shadow_puts_copies_in_and_restore_puts_the_very_same_objects_back() -> None:
    for make in (np.array, torch.tensor):
        params = {"a": make([1.0, 2.0]), "n": make([3])}
        originals = dict(params)
        ema = EMA(0.5)
        ema.register(params)
        ema.update({"a": make([3.0, 4.0]), "n": make([7])})
        backup = ema.apply_shadow(params)
        assert params["a"].tolist() == [2.0, 3.0]
        assert params["n"].tolist() == [7]
        params["a"] += 100
        assert ema.shadow_params["a"].tolist() == [2.0, 3.0]
        assert backup == originals or all(backup[key] is originals[key] for key in originals)
        ema.restore(params, backup)
        assert all(params[key] is originals[key] for key in originals)
        assert params["a"].tolist() == [1.0, 2.0]


def test_applied_entries_keep_their_dtype_while_the_shadow_is_float32() -> None:
    params = {"w": torch.ones(3, dtype=torch.bfloat16)}
    ema = EMA(0.999)
    ema.register(params)
    for _ in range(10):
        ema.update({"w": torch.full((3,), 2.0, dtype=torch.bfloat16)})
    assert ema.shadow_params["w"].dtype == torch.float32
    assert ema.shadow_params["w"][0] == pytest.approx(2 - 0.999**10, rel=1e-6)
    ema.apply_shadow(params)
    assert params["w"].dtype == torch.bfloat16


def test_get_params_are_copies() -> None:
    ema = EMA()
    ema.register({"w": torch.zeros(2)})
    ema.get_params()["w"].add_(1)
    assert ema.shadow_params["w"].tolist() == [0, 0]


def test_parameters_that_require_gradients_are_averaged_without_a_graph() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    ema = EMA(0.5)
    ema.register({"w": weight})
    ema.update({"w": weight * 3})
    assert not ema.shadow_params["w"].requires_grad
    assert ema.shadow_params["w"].tolist() == [2, 2]


def test_an_update_that_is_not_finite_is_left_out_as_a_whole() -> None:
    ema = EMA(0.5)
    ema.register({"a": np.zeros(2), "b": np.zeros(2), "mask": np.array([0.0, -np.inf])})
    ema.update({"a": np.ones(2), "b": np.array([1.0, np.nan]), "mask": np.array([0.0, -np.inf])})
    assert ema.skipped_updates == 1
    assert ema.shadow_params["a"].tolist() == [0, 0]
    ema.update({"a": np.ones(2), "b": np.ones(2), "mask": np.array([0.0, -np.inf])})
    assert ema.shadow_params["b"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("verb", ["update", "apply_shadow", "restore"])
def test_names_that_were_never_registered_raise_a_clear_error(verb: str) -> None:
    ema = EMA()
    ema.register({"known": np.zeros(1)})
    arguments = ({"unknown": np.zeros(1)},) if verb != "restore" else ({}, {"unknown": np.zeros(1)})
    for kind in (KeyError, ValueError):
        with pytest.raises(kind, match=r"never registered: 'unknown'; register\(params\) comes first"):
            getattr(ema, verb)(*arguments)


def test_another_shape_than_the_registered_one_raises() -> None:
    ema = EMA()
    ema.register({"w": np.zeros(2)})
    with pytest.raises(ValueError, match=r"registered with shape \(2,\), got \(3,\)"):
        ema.update({"w": np.zeros(3)})


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan"), "0.9", None, True])
def test_a_decay_outside_0_to_1_is_refused(decay: object) -> None:
    with pytest.raises(ValueError, match="EMA decay: expected a number from 0 to 1"):
        EMA(decay)  # type: ignore[arg-type]
