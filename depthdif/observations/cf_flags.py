"""Quality flags of CF files: status and quality flags that ancillary variables hold (CF 3.4, 3.5)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.observations.cf_decoding import missing, words

# Flag of Argo (reference table 2) that a word of `flag_meanings` stands for; `Quality` names flags by these.
_MEANINGS = {
    **dict.fromkeys(("good", "good_data", "good_value", "quality_good", "correct", "correct_value"), "1"),
    **dict.fromkeys(("pass", "passed", "ok", "valid", "accepted", "accepted_value", "acceptable"), "1"),
    **dict.fromkeys(("probably_good", "probably_good_data", "probably_good_value"), "2"),
    **dict.fromkeys(("changed", "changed_value", "value_changed", "estimated_and_changed"), "5"),
    **dict.fromkeys(("interpolated", "interpolated_value", "estimated", "estimated_value"), "8"),
    **dict.fromkeys(("bad", "bad_data", "bad_value", "fail", "failed", "quality_bad"), "4"),
}


def flag_variables(dataset: xr.Dataset, variable: xr.Variable) -> list[xr.Variable]:
    """The quality flags among the `ancillary_variables` of a variable.

    Raises:
        UserError: flags that are bits.
    """
    found = []
    for name in str(variable.attrs.get("ancillary_variables", "")).split():
        if name in dataset.variables and _is_flag(dataset.variables[name]):
            if "flag_masks" in dataset.variables[name].attrs:
                raise UserError(f"the quality flags {name} are bits (flag_masks); expected flag_values")
            found.append(dataset.variables[name])
    return found


def _is_flag(variable: xr.Variable) -> bool:
    name = str(variable.attrs.get("standard_name", ""))
    return name.endswith(("status_flag", "quality_flag")) or bool(
        {"flag_values", "flag_meanings", "flag_masks"} & set(variable.attrs)
    )


def good_flags(variable: xr.Variable, accepted: Sequence[int | str]) -> tuple[np.ndarray, np.ndarray]:
    """Where flags are good, and where they are missing (never good); bool arrays of the shape of the variable.

    `accepted` are flags as Argo numbers them. A file that gives `flag_meanings` numbers as it likes: good data are 1, probably
    good data 2, changed values 5, and interpolated or estimated values 8.

    Raises:
        UserError: meanings of which none is known.
    """
    flags = {str(flag) for flag in accepted}
    attributes = variable.attrs
    if "flag_meanings" in attributes and "flag_values" in attributes:
        meanings = [re.sub(r"\W", "_", word.lower()) for word in str(attributes["flag_meanings"]).split()]
        numbers = [_MEANINGS.get(word, word) for word in meanings]
        if not any(number in _MEANINGS.values() for number in numbers):
            raise UserError(
                f"quality flags mean {', '.join(meanings)}; expected words such as good_data and probably_good_data"
            )
        flags = {
            value
            for value, number in zip(_flag_values(attributes["flag_values"]), numbers, strict=False)
            if number in flags
        }
    absent = missing(variable)
    return np.isin(words(variable.values), sorted(flags)) & ~absent, absent


def _flag_values(attribute: object) -> list[str]:
    """The values of flags as words, from numbers, a list of words, or words in one text such as `1, 2`."""
    if isinstance(attribute, str):
        return re.findall(r"[^\s,]+", attribute)
    return words(np.ravel(np.asarray(attribute))).tolist()
