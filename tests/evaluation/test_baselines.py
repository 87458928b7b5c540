from __future__ import annotations

import numpy as np
import pytest

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import Sample, collate
from depthdif.data.patches import Box
from depthdif.data.synthetic import synthetic_field
from depthdif.evaluation.evaluator import make_baselines
from depthdif.evaluation.result import IDW, OI
from depthdif.evaluation.tally import GaussianForecast
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import PatchData

OI_CONFIG = {
    "_target_": "depthdif.first_guess.optimal_interpolation.OptimalInterpolation",
    "latitude_scale": 1000.0,
    "longitude_scale": 2000.0,
    "surface_scale": 2.0,
    "nugget": 0.01,
}
CONFIGS = {"idw": {"_target_": "depthdif.first_guess.inverse_distance.InverseDistance"}, "oi": OI_CONFIG}


@pytest.fixture(scope="module")
def data() -> OceanDataModule:
    made = OceanDataModule(
        synthetic_field(times=2, depths=3, height=40, width=80),
        Box(longitude=(30, 130)),
        patch_size=12,
        validation_patches=2,
    )
    made.setup()
    return made


@pytest.fixture
def sample(data: OceanDataModule) -> Sample:
    return data.validation_samples()[0]


def test_the_baselines_of_the_config_stand_in_where_the_run_has_no_first_guess(sample: Sample) -> None:
    lines: list[str] = []
    made = make_baselines(CONFIGS, None, sample, lines.append)
    assert list(made) == [IDW, OI]
    assert len(lines) == 2
    assert "baselines.oi" in lines[1]


def test_the_first_guess_of_the_run_takes_the_place_of_its_kind(sample: Sample) -> None:
    lines: list[str] = []
    own = OptimalInterpolation(500.0, 500.0, None, 0.1)
    made = make_baselines(CONFIGS, own, sample, lines.append)
    assert made[OI] is own
    assert isinstance(made[IDW], InverseDistance)
    assert lines == ["OI: with the settings of the run, not those of baselines.oi"]
    lines.clear()
    make_baselines(CONFIGS, OptimalInterpolation(1000.0, 2000.0, 2.0, 0.01), sample, lines.append)
    assert lines == []


def test_a_baseline_that_does_not_fit_the_surface_fields_is_left_out_with_the_reason(sample: Sample) -> None:
    lines: list[str] = []
    made = make_baselines({"oi": {**OI_CONFIG, "surface_scale": [1.0, 2.0, 3.0]}}, None, sample, lines.append)
    assert made == {}
    (line,) = lines
    assert line.startswith(
        "OI is left out, it cannot be made for these data: model.first_guess.surface_scale"
    )


def test_the_forecast_of_a_first_guess_is_in_units_of_the_field(
    data: OceanDataModule, sample: Sample
) -> None:
    batch = collate([sample])
    oi = OptimalInterpolation(1000.0, 2000.0, 2.0, 0.01)
    result = oi(PatchData.from_batch(batch))
    forecast = GaussianForecast.from_first_guess(result.estimate, result.error_variance, data.standardization)
    guess, variance, *_ = (field[0].numpy() for field in result)
    assert forecast.mean[0] == pytest.approx(data.standardization.restore(guess), rel=1e-5)
    assert forecast.deviation is not None
    expected = np.sqrt(variance) * data.standardization.std[:, None, None]
    assert forecast.deviation[0] == pytest.approx(expected, rel=1e-5)
