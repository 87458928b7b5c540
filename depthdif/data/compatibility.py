"""Whether a checkpoint fits the data: one error that says what to set where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from depthdif import UserError
from depthdif.data.units import same_units
from depthdif.first_guess.protocol import FirstGuess

# The option of model/first_guess that builds each kind of first guess.
_OPTIONS = {"none": "none", "InverseDistance": "idw", "OptimalInterpolation": "oi"}

_STATISTICS = ("standardization", "surface_standardization", "residual")


def check_trained_on(trained: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raise UserError where a checkpoint was `trained` on other data; both as `OceanDataModule.state_dict`.

    Compared are variable, surface variables, units of all of them, depths (to 0.1 m or 0.1 %) and first guess.
    """
    missing = sorted({*data, *_STATISTICS} - trained.keys())
    if missing:
        raise UserError(
            f"the checkpoint was trained by another version of depthdif: it does not hold {', '.join(missing)} of its data; "
            "train again with this version, or open it with that one"
        )
    for name in ("variable", "surface"):
        if trained[name] != data[name]:
            raise UserError(
                f"the checkpoint was trained on {name} {_as_override(trained[name])}, the data have "
                f"{_as_override(data[name])}; set data.{name}={_as_override(trained[name])}"
            )
    check_units(trained, data)
    check_depths(np.array(trained["depths"]), np.array(data["depths"]))
    check_first_guess(trained["first_guess"], data["first_guess"])


def check_units(trained: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raise UserError where the target or a surface variable has other units; spellings of the same units pass."""
    names = [trained["variable"], *trained["surface"]]
    units = ([state["units"], *state["surface_units"]] for state in (trained, data))
    for name, expected, actual in zip(names, *units, strict=True):
        if not same_units(expected, actual):
            raise UserError(
                f"the checkpoint was trained on {name} in {expected}, the data have it in {actual}; convert the data "
                f"first, or where only the attribute is wrong: ncatted -a units,{name},o,c,'{expected}' FILE.nc"
            )


def check_depths(trained: np.ndarray, data: np.ndarray) -> None:
    """Raise UserError where the levels (D,) in metres are not the same."""
    count = len(trained)
    if _same_levels(trained, data):
        return
    advice = "expected the same depths: select or interpolate them first"
    if len(data) > count and _same_levels(trained, data[:count]):
        advice = f"set data.max_depth={trained[-1]:g}"
    raise UserError(
        f"the checkpoint was trained on {count} depths from {trained[0]:g} to {trained[-1]:g} m, "
        f"the data have {len(data)} from {data[0]:g} to {data[-1]:g} m; {advice}"
    )


def describe_first_guess(first_guess: FirstGuess | None) -> dict[str, Any]:
    """`{"kind": class name or "none", "settings": {...}}`, in values that torch.load(weights_only=True) reads.

    Settings are the fields of a dataclass; an object of another class has none.
    """
    if first_guess is None:
        return {"kind": "none", "settings": {}}
    values: Mapping[str, Any] = vars(first_guess) if dataclasses.is_dataclass(first_guess) else {}
    settings = {
        # A list from a config is of a class of its own, which a checkpoint must not hold.
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in values.items()
    }
    return {"kind": type(first_guess).__name__, "settings": settings}


def check_first_guess(trained: Mapping[str, Any] | str, data: Mapping[str, Any]) -> None:
    """Raise UserError where the first guess, as `describe_first_guess`, is of another kind or has other settings."""
    if isinstance(trained, str):
        raise UserError(
            f"the checkpoint was trained by another version of depthdif: it holds its first guess as the text {trained!r}; "
            "train again with this version, or open it with that one"
        )
    kind, settings = trained["kind"], trained["settings"]
    if kind != data["kind"]:
        raise UserError(
            f"the checkpoint was trained with the first guess {kind}, the data have {data['kind']}; set "
            f"model/first_guess={_OPTIONS.get(kind, 'OPTION')}, with the settings in config.yaml of its run"
        )
    names = [name for name in settings | data["settings"] if settings.get(name) != data["settings"].get(name)]
    if names:
        expected = " ".join(f"model.first_guess.{name}={_as_override(settings.get(name))}" for name in names)
        actual = ", ".join(f"{name}={_as_override(data['settings'].get(name))}" for name in names)
        raise UserError(
            f"the checkpoint was trained with the first guess {kind} of other settings than {actual}; set {expected}"
        )


def _as_override(value: Any) -> str:
    """A value as the command line takes it."""
    return "null" if value is None else str(value).replace(", ", ",").replace("'", "")


def _same_levels(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-3, atol=0.1))
