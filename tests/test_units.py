from __future__ import annotations

import pytest

from depthdif.units import canonical_units, same_units


@pytest.mark.parametrize(
    "spellings",
    [
        ("degree_Celsius", "degC", "deg_C", "deg C", "degrees_C", "degrees Celsius", "Celsius", "°C", "C"),
        ("K", "kelvin", "Kelvin", "degK", "degrees_K"),
        ("1e-3", "0.001", "psu", "PSU", "PSS-78"),
        ("m s-1", "m/s", "m.s-1", "m s^-1", "m s**-1", "m*s-1"),
        ("mmol m-3", "mmol/m3", "mmol/m^3", "mmol m**-3"),
        ("W m-2", " W  m-2 "),
    ],
)
def test_spellings_of_one_unit_are_the_same(spellings: tuple[str, ...]) -> None:
    for spelling in spellings:
        assert same_units(spelling, spellings[0])
        assert canonical_units(spelling) == spellings[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [("degC", "K"), ("m s-1", "cm s-1"), ("m s-1", "m s-2"), ("1", "1e-3"), ("mmol m-3", "Mmol m-3")],
)
def test_different_units_differ(first: str, second: str) -> None:
    assert not same_units(first, second)
    assert not same_units(second, first)


def test_a_field_without_units_agrees_with_any() -> None:
    assert same_units("", "K")
    assert same_units("degC", " ")
