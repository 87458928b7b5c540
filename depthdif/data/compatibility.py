"""Comparison of a checkpoint with the data, with one error where they differ."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from depthdif import UserError
from depthdif.data.field import OceanField
from depthdif.data.statistics import TrainingStatistics
from depthdif.first_guess.protocol import FirstGuess
from depthdif.units import same_units

# The option of model/first_guess that builds each kind of first guess.
_OPTIONS = {"none": "none", "InverseDistance": "idw", "OptimalInterpolation": "oi"}


def check_trained_on(trained: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raise UserError where a checkpoint was `trained` on other data; both as `OceanDataModule.state_dict`.

    Compared are variables, surface variables, units of all of them, depths (to 0.1 m or 0.1 %) and first guess.
    """
    statistics = {field.name for field in dataclasses.fields(TrainingStatistics)}
    if missing := sorted((data.keys() | statistics) - trained.keys()):
        raise UserError(
            f"the checkpoint was trained by another version of depthdif: it does not hold {', '.join(missing)} of its data; "
            "train again with this version, or open it with that one"
        )
    listed = ([each["name"] for each in state["variables"]] for state in (trained, data))
    variables = (each if len(each) > 1 else each[0] for each in listed)
    surface = (state["surface"] for state in (trained, data))
    for name, pair in {"variable": variables, "surface": surface}.items():
        expected, actual = map(_as_override, pair)
        if expected != actual:
            advice = f"set data.{name}={expected}"
            # Channels such as sst-1 are no variables of the file.
            if re.search(r"[+-]\d+\b", expected + actual):
                advice = "set data.surface and data.surface_offsets as in config.yaml of its run"
            raise UserError(
                f"the checkpoint was trained on {name} {expected}, the data have {actual}; {advice}"
            )
    names = [*(each["name"] for each in trained["variables"]), *trained["surface"]]
    units = (
        [*(each["units"] for each in state["variables"]), *state["surface_units"]]
        for state in (trained, data)
    )
    for name, expected, actual in zip(names, *units, strict=True):
        if not same_units(expected, actual):
            raise UserError(
                f"the checkpoint was trained on {name} in {expected}, the data have it in {actual}; convert the data "
                f"first, or where only the attribute is wrong: ncatted -a units,{name},o,c,'{expected}' FILE.nc"
            )
    check_depths(trained["depths"], data["depths"])
    check_first_guess(trained["first_guess"], data["first_guess"])


def check_depths(trained: Sequence[float], data: Sequence[float]) -> None:
    """Raise UserError where the depths of the data, in metres, are not the `trained` ones to 0.1 m or 0.1 %."""
    ours, theirs = np.asarray(trained), np.asarray(data)
    begins_alike = len(theirs) >= len(ours) and np.allclose(ours, theirs[: len(ours)], rtol=1e-3, atol=0.1)
    if len(theirs) != len(ours) or not begins_alike:
        advice = "expected the same depths: select or interpolate them first"
        if begins_alike:
            advice = f"set data.max_depth={ours[-1]:g}"
        raise UserError(
            f"the checkpoint was trained on {len(ours)} depths from {ours[0]:g} to {ours[-1]:g} m, "
            f"the data have {len(theirs)} from {theirs[0]:g} to {theirs[-1]:g} m; {advice}"
        )


def describe_data(field: OceanField, first_guess: FirstGuess | None) -> dict[str, Any]:
    """The properties that a checkpoint and the data must have in common."""
    return {
        "variables": [dataclasses.asdict(variable) for variable in field.variables],
        "depths": field.depths.tolist(),
        "surface": list(field.surface_names),
        "surface_units": [str(array.attrs.get("units", "")) for array in field.surface]
        * len(field.surface_offsets),
        "first_guess": describe_first_guess(first_guess),
    }


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


def check_first_guess(trained: Mapping[str, Any] | str, data: Mapping[str, Any]) -> None:
    """Raise UserError for another first guess than the `trained` one; both as `describe_first_guess`."""
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
