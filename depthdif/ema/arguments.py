"""Checks of the arguments of the callbacks: an error names the argument and the override to set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthdif.ema.decay import WIDEST, is_decay, parse_decay


def check(callback: str, key: str, value: Any, valid: bool, expected: str, example: Any) -> None:
    """Raise ValueError unless `valid`; `key` is that of the config, its last part the name of the argument."""
    if not valid:
        argument = key.rpartition(".")[2]
        raise ValueError(f"{callback}: {argument}: expected {expected}, got {value!r}; set {key}={example}")


def check_integer(callback: str, key: str, value: Any, least: int, example: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`."""
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
    check(callback, key, value, valid, f"an integer >= {least}", example)


def check_decays(decay: Any, extra_decays: Any) -> None:
    """Raise ValueError unless all are decays, and all differ."""
    expected = (
        f"a number with 0 <= decay <= 1, or a relative width such as width_0.05, up to width_{WIDEST:.4f}"
    )
    check("EMACallback", "model.ema.decay", decay, is_decay(decay), expected, "0.999")
    is_list = isinstance(extra_decays, Sequence) and not isinstance(extra_decays, str)
    are_decays = is_list and all(map(is_decay, extra_decays))
    all_differ = are_decays and len({*map(parse_decay, (decay, *extra_decays))}) == 1 + len(extra_decays)
    expected = f"all different and none of them model.ema.decay, each {expected}"
    check("EMACallback", "model.ema.extra_decays", extra_decays, all_differ, expected, "[0.99,0.999]")
