"""What the arguments of the EMA callback may be; errors name the Hydra override to type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthdif.ema.law import PowerDecay, decay_named
from depthdif.ema.power import WIDEST

DECAY = f"a number with 0 <= decay <= 1, or a relative width such as width_0.05, up to width_{WIDEST:.4f}"


def check_arguments(**given: Any) -> None:
    """Check the arguments of `EMACallback`, all by name.

    Raises:
        ValueError: an argument is out of range; one line with what was given, expected, and what to type.
    """
    decay, extra = given["decay"], given["extra_decays"]
    _expect(_is_decay(decay), "decay", decay, DECAY, "0.999")
    every, start = given["apply_every_n_steps"], given["start_step"]
    _expect(_is_count(every, least=1), "apply_every_n_steps", every, "an integer >= 1", "1")
    _expect(_is_count(start, least=0), "start_step", start, "an integer >= 0", "0")
    for flag in ("save_ema_weights_in_callback_state", "evaluate_ema_weights_instead", "warmup"):
        _expect(isinstance(given[flag], bool), flag, given[flag], "true or false", "true")
    is_list = isinstance(extra, Sequence) and not isinstance(extra, str)
    are_decays = is_list and all(map(_is_decay, extra))
    all_differ = are_decays and len({*map(decay_named, (decay, *extra))}) == 1 + len(extra)
    expected = f"all different and none of them model.ema.decay, each {DECAY}"
    _expect(all_differ, "extra_decays", extra, expected, "[0.99,0.999]")


def _is_decay(value: Any) -> bool:
    if isinstance(value, str) and value.startswith("width_"):
        try:
            decay_named(value)
        except ValueError:
            return False
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, PowerDecay) or (is_number and 0 <= value <= 1)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _expect(holds: bool, field: str, given: Any, expected: str, example: str) -> None:
    if not holds:
        hint = f"type model.ema.{field}={example}"
        raise ValueError(f"EMACallback: {field}: expected {expected}, got {given!r}; {hint}")
