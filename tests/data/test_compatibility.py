"""What a checkpoint was trained on against the data at hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from depthdif import UserError
from depthdif.data.compatibility import check_trained_on, describe_first_guess
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuessResult, PatchData

OI = OptimalInterpolation(3150.0, 8820.0, 2.76, 1e-5, covariance=1.43)
TEMPERATURE = {"name": "temperature", "units": "degree_Celsius", "standard_name": "sea_water_temperature"}
SALINITY = {"name": "salinity", "units": "1", "standard_name": "sea_water_practical_salinity"}
DATA: dict[str, Any] = {
    "variables": [TEMPERATURE],
    "depths": [0.0, 10.0, 100.0],
    "surface": ["sst", "zos"],
    "surface_units": ["degree_Celsius", "m"],
    "first_guess": describe_first_guess(OI),
}
TRAINED = DATA | dict.fromkeys(
    ("standardization", "surface_standardization", "climatology", "regressions", "residual", "domain")
)


def message(**changes: Any) -> str:
    with pytest.raises(UserError, match=r"^the checkpoint was trained ") as error:
        check_trained_on(TRAINED, DATA | changes)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"variables": [TEMPERATURE | {"units": "degC"}], "surface_units": ["deg_C", "m"]},
        {"variables": [TEMPERATURE | {"units": ""}]},
        {"depths": [0.0, 10.0004, 100.05]},
        {"first_guess": describe_first_guess(dataclasses.replace(OI, latitude_scale=3150))},
    ],
    ids=["same", "units_spelled_otherwise", "no_units", "depths_rounded", "an_integer_for_a_float"],
)
def test_the_same_data_pass_however_they_are_written(changes: dict[str, Any]) -> None:
    check_trained_on(TRAINED, DATA | changes)


def test_another_variable_or_other_surface_variables_say_what_to_set() -> None:
    assert message(variables=[SALINITY]).endswith("set data.variable=temperature")
    assert message(variables=[TEMPERATURE, SALINITY]).endswith("set data.variable=temperature")
    assert message(surface=[], surface_units=[]).endswith("set data.surface=[sst,zos]")


def test_other_units_of_any_variable_are_refused_with_the_way_to_mend_them() -> None:
    assert "temperature in degree_Celsius, the data have it in K; convert the data" in message(
        variables=[TEMPERATURE | {"units": "K"}]
    )
    text = message(surface_units=["K", "m"])
    assert "sst in degree_Celsius" in text
    assert "ncatted -a units,sst,o,c,'degree_Celsius' FILE.nc" in text


@pytest.mark.parametrize("name", ["surface_units", "residual", "standardization"])
def test_a_checkpoint_of_another_version_is_reported(name: str) -> None:
    trained = {key: value for key, value in TRAINED.items() if key != name}
    with pytest.raises(UserError, match=rf"another version of depthdif: it does not hold {name} of its data"):
        check_trained_on(trained, DATA)


def test_other_depths_are_refused_and_deeper_data_can_be_cut() -> None:
    assert message(depths=[0.0, 10.0, 100.0, 500.0]).endswith("set data.max_depth=100")
    assert "3 depths from 0 to 100 m, the data have 2 from 0 to 10 m" in message(depths=[0.0, 10.0])
    assert message(depths=[0.0, 20.0, 100.0]).endswith("select or interpolate them first")


@pytest.mark.parametrize(
    ("first_guess", "advice"),
    [(None, "the data have none"), (InverseDistance(), "the data have InverseDistance")],
)
def test_another_kind_of_first_guess_is_refused_with_the_option_to_set(first_guess: Any, advice: str) -> None:
    text = message(first_guess=describe_first_guess(first_guess))
    assert "OptimalInterpolation, " + advice in text
    assert "set model/first_guess=oi" in text
    assert len(text) < 200


def test_another_setting_of_the_first_guess_is_refused_with_the_value_to_set() -> None:
    other = dataclasses.replace(OI, nugget=0.1, surface_scale=None)
    text = message(first_guess=describe_first_guess(other))
    assert "surface_scale=null, nugget=0.1" in text
    assert text.endswith("set model.first_guess.surface_scale=2.76 model.first_guess.nugget=1e-05")


def test_a_first_guess_is_described_by_its_kind_and_its_settings() -> None:
    listed = dataclasses.replace(OI, surface_scale=[1.0, 2.0], covariance="gaussian", prior_profiles=8.33)
    settings = dataclasses.asdict(listed) | {"surface_scale": [1.0, 2.0]}
    expected = {"kind": "OptimalInterpolation", "settings": settings}
    assert describe_first_guess(listed) == expected
    assert describe_first_guess(None) == {"kind": "none", "settings": {}}


def test_a_first_guess_that_is_no_dataclass_is_compared_by_its_kind() -> None:
    class Climatology:
        def __call__(self, patch: PatchData) -> FirstGuessResult:
            raise NotImplementedError

        def leave_one_out(self, patch: PatchData) -> tuple[np.ndarray, np.ndarray]:
            raise NotImplementedError

    assert describe_first_guess(Climatology()) == {"kind": "Climatology", "settings": {}}
    assert "set model/first_guess=oi" in message(first_guess=describe_first_guess(Climatology()))


@pytest.mark.parametrize("text", ["None", "InverseDistance(power=4.89)"])
def test_a_checkpoint_with_its_first_guess_as_text_is_of_another_version(text: str) -> None:
    with pytest.raises(UserError, match="another version of depthdif: it holds its first guess as the text"):
        check_trained_on(TRAINED | {"first_guess": text}, DATA)
