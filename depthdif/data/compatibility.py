"""Whether a checkpoint fits to the data at hand: one error that says what to type where it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from depthdif.data.units import same_units

# The option of model/first_guess that builds each kind of first guess.
_OPTIONS = {"None": "none", "InverseDistance": "idw", "OptimalInterpolation": "oi"}

_STATISTICS = ("standardization", "surface_standardization", "residual")


def check_trained_on(trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError where the data `given` are not what a checkpoint was `trained` on; both as `OceanDataModule.state_dict`.

    Compared are variable, surface variables, units of all of them, depths (to 0.1 m or 0.1 %) and first guess.
    """
    missing = sorted({*given, *_STATISTICS} - trained.keys())
    if missing:
        raise ValueError(
            f"the checkpoint was trained by another version of depthdif: it does not hold {', '.join(missing)} of its data; "
            "train again with this version, or open it with that one"
        )
    for name in ("variable", "surface"):
        if trained[name] != given[name]:
            raise ValueError(
                f"the checkpoint was trained on {name} {_typed(trained[name])}, the data have {_typed(given[name])}; "
                f"type data.{name}={_typed(trained[name])}"
            )
    check_units(trained, given)
    check_depths(np.array(trained["depths"]), np.array(given["depths"]))
    check_first_guess(trained["first_guess"], given["first_guess"])


def check_units(trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError where the target or a surface variable has other units; spellings of the same units pass."""
    names = [trained["variable"], *trained["surface"]]
    of_checkpoint = [trained["units"], *trained["surface_units"]]
    of_data = [given["units"], *given["surface_units"]]
    for name, theirs, ours in zip(names, of_checkpoint, of_data, strict=True):
        if not same_units(theirs, ours):
            raise ValueError(
                f"the checkpoint was trained on {name} in {theirs}, the data have it in {ours}; convert the data "
                f"first, or where only the attribute is wrong: ncatted -a units,{name},o,c,'{theirs}' FILE.nc"
            )


def check_depths(trained: np.ndarray, given: np.ndarray) -> None:
    """Raise ValueError where the levels (D,) in metres are not the same."""
    count = len(trained)
    if _same_levels(trained, given):
        return
    advice = "expected the same depths: select or interpolate them first"
    if len(given) > count and _same_levels(trained, given[:count]):
        advice = f"type data.max_depth={trained[-1]:g}"
    raise ValueError(
        f"the checkpoint was trained on {count} depths from {trained[0]:g} to {trained[-1]:g} m, "
        f"the data have {len(given)} from {given[0]:g} to {given[-1]:g} m; {advice}"
    )


def check_first_guess(trained: str, given: str) -> None:
    """Raise ValueError where the first guess, as `str` shows it, is of another kind or has other settings."""
    (kind, settings), (given_kind, given_settings) = described(trained), described(given)
    if kind != given_kind:
        raise ValueError(
            f"the checkpoint was trained with the first guess {kind}, given was {given_kind}; type "
            f"model/first_guess={_OPTIONS.get(kind, 'OPTION')}, with the settings in config.yaml of its run"
        )
    # Values are compared, not how they are written: 3150 is 3150.0.
    others = [name for name in settings | given_settings if settings.get(name) != given_settings.get(name)]
    if others:
        was = " ".join(f"model.first_guess.{name}={_typed(settings.get(name))}" for name in others)
        now = ", ".join(f"{name}={_typed(given_settings.get(name))}" for name in others)
        raise ValueError(
            f"the checkpoint was trained with the first guess {kind} of other settings than {now}; type {was}"
        )


def described(first_guess: str) -> tuple[str, dict[str, Any]]:
    """Kind and settings out of `Kind(name=value, ...)`, which is how a dataclass shows itself; other objects have no settings."""
    kind, _, settings = re.sub(" at 0x[0-9a-f]+", "", first_guess).partition("(")
    # A value may be a list, with commas of its own.
    pairs = [pair.partition("=")[::2] for pair in re.split(r", (?=\w+=)", settings.removesuffix(")")) if pair]
    return kind, {name: _value(value) for name, value in pairs}


def _typed(value: Any) -> str:
    """As an override is typed."""
    return "null" if value is None else str(value).replace(", ", ",").replace("'", "")


def _value(written: str) -> Any:
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError):  # inf is no literal
        return written
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _same_levels(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-3, atol=0.1))
