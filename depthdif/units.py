"""Units of variables in files, compared in any spelling, and CF names of temperature and salinity."""

from __future__ import annotations

import re

IN_SITU, POTENTIAL, CONSERVATIVE = (
    "sea_water_temperature",
    "sea_water_potential_temperature",
    "sea_water_conservative_temperature",
)
PRACTICAL, ABSOLUTE = "sea_water_practical_salinity", "sea_water_absolute_salinity"
TEMPERATURES, SALINITIES = (IN_SITU, POTENTIAL, CONSERVATIVE), (PRACTICAL, ABSOLUTE)
# The name of salinity before the two were told apart.
_SYNONYMS = {"sea_water_salinity": PRACTICAL}

# Units of temperature and practical salinity in files; lower case, without blanks and `_`. (`1` is not a spelling of
# practical salinity: it may be a mass fraction, a thousandth of the number.)
_SPELLINGS = {
    "degree_Celsius": (
        *("c", "°c", "ºc", "celsius", "degc", "degsc", "degreec", "degreesc"),
        *("degcelsius", "degreecelsius", "degreescelsius", "°celsius", "centigrade"),
    ),
    "K": ("k", "°k", "kelvin", "kelvins", "degk", "degreek", "degreesk", "degkelvin", "degreekelvin"),
    "1e-3": ("1e-3", "1e-03", "0.001", "psu", "pss", "pss-78", "practicalsalinityunit"),
}
_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}


def canonical_units(units: str) -> str:
    """One spelling for units that are spelled differently: `degC` is `degree_Celsius`, `m/s` is `m s-1`.

    Celsius, kelvin and practical salinity are known by their names; of other units blanks, `.` and `*` between factors, `^`
    and `**` before exponents, and `/` count as the `m s-1` of CF. Nothing is converted.
    """
    folded = re.sub(r"[\s_]", "", units.lower())
    if folded in _NAMES:
        return _NAMES[folded]
    factors = re.sub(r"\*\*|\^", "", units.strip())
    factors = re.sub(r"\s*/\s*([^\W\d]+)(\d*)", lambda match: f" {match[1]}-{match[2] or 1}", factors)
    return " ".join(re.split(r"[\s.*·]+", factors.strip()))


def same_units(first: str, second: str) -> bool:
    """Whether two spellings are the same units; no units are the same as any."""
    return not (first.strip() and second.strip()) or canonical_units(first) == canonical_units(second)


def canonical_name(standard_name: str) -> str:
    """The CF standard_name that an older one stands for."""
    return _SYNONYMS.get(standard_name, standard_name)
