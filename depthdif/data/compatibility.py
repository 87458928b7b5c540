"""Comparison of a checkpoint with the data, with one error where they differ."""

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
    if missing := sorted({*data, *_STATISTICS} - trained.keys()):
        raise UserError(
            f"the checkpoint was trained by another version of depthdif: it does not hold {', '.join(missing)} of its data; "
            "train again with this version, or open it with that one"
        )
    for name in ("variable", "surface"):
        expected, actual = (_as_override(state[name]) for state in (trained, data))
        if trained[name] != data[name]:
            raise UserError(
                f"the checkpoint was trained on {name} {expected}, the data have {actual}; set data.{name}={expected}"
            )
    units = ([state["units"], *state["surface_units"]] for state in (trained, data))
    for name, expected, actual in zip([trained["variable"], *trained["surface"]], *units, strict=True):
        if not same_units(expected, actual):
            raise UserError(
                f"the checkpoint was trained on {name} in {expected}, the data have it in {actual}; convert the data "
                f"first, or where only the attribute is wrong: ncatted -a units,{name},o,c,'{expected}' FILE.nc"
            )
    _check_depths(np.array(trained["depths"]), np.array(data["depths"]))
    _check_first_guess(trained["first_guess"], data["first_guess"])


def _check_depths(trained: np.ndarray, data: np.ndarray) -> None:
    count = len(trained)
    same = len(data) >= count and np.allclose(trained, data[:count], rtol=1e-3, atol=0.1)
    if same and len(data) == count:
        return
    advice = "expected the same depths: select or interpolate them first"
    if same:
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
        # A list from a config is an OmegaConf object, which a checkpoint must not contain.
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in values.items()
    }
    return {"kind": type(first_guess).__name__, "settings": settings}


def _check_first_guess(trained: Mapping[str, Any] | str, data: Mapping[str, Any]) -> None:
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
    expected, actual = [], []
    for name in settings | data["settings"]:
        ours, theirs = settings.get(name), data["settings"].get(name)
        if ours != theirs:
            expected.append(f"model.first_guess.{name}={_as_override(ours)}")
            actual.append(f"{name}={_as_override(theirs)}")
    if expected:
        raise UserError(
            f"the checkpoint was trained with the first guess {kind} of other settings than {', '.join(actual)}; "
            f"set {' '.join(expected)}"
        )


def _as_override(value: Any) -> str:
    """A value in the syntax of the command line."""
    return "null" if value is None else str(value).replace(", ", ",").replace("'", "")
