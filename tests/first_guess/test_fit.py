from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from depthdif import UserError
from depthdif.data.dataset import collate
from depthdif.first_guess.fit import OI_ESTIMATE, Setting, crps, fit_first_guess, rmse, search
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import PatchData

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_shipped_first_guesses_build_and_none_is_none() -> None:
    kinds = {
        "none": type(None),
        "idw": InverseDistance,
        "oi": OptimalInterpolation,
        "oi_anomalies": OptimalInterpolation,
        "oi_eddies": OptimalInterpolation,
        "oi_salinity": OptimalInterpolation,
    }
    assert {path.stem for path in (CONF / "model/first_guess").glob("*.yaml")} == set(kinds)
    for name, kind in kinds.items():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("fit_first_guess", [f"model/first_guess={name}"])
        assert isinstance(instantiate(cfg.model.first_guess), kind)


def test_the_fit_beats_its_start_and_writes_an_option_that_builds(tmp_path: Path) -> None:
    output = tmp_path / "fitted.yaml"
    overrides = ["data=synthetic", "data.patch_size=16", "data.validation_patches=2", "patches=4", f"output={output}",
                 "fixed=[covariance,nugget,mean_variance,trend_variance]", "model.first_guess.nugget=0.02"]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("fit_first_guess", overrides)
    score = fit_first_guess(cfg, overrides)
    fitted = OmegaConf.load(output)
    assert fitted.nugget == 0.02
    assert isinstance(instantiate(fitted), OptimalInterpolation)
    assert f"RMSE {score:.4f}" in output.read_text()
    data = instantiate(cfg.data)
    data.setup()
    samples = data.train_dataloader().dataset
    patches = PatchData.from_batch(collate([samples[i] for i in range(4)]))
    start = {name: OI_ESTIMATE[name].start for name in ("latitude_scale", "longitude_scale", "surface_scale")}
    unfitted = instantiate(cfg.model.first_guess, **start)
    assert score < rmse(unfitted, patches, data.standardization.std)


def test_climatology_and_regressions_are_measured_for_the_fit_and_kept(tmp_path: Path) -> None:
    overrides = ["data=synthetic", "data.patch_size=16", "data.validation_patches=2", "data/validation=time_range",
                 "data.validation.start=2000-04", "data.validation.stop=2000-04", "data/climatology=seasonal",
                 "data.climatology.harmonics=0", "model.first_guess.background=climatology", "patches=4",
                 "model.first_guess.regressions=true", "model.first_guess.surface_scale=[1,2,3]",
                 f"fixed=[{','.join(name for name in OI_ESTIMATE if name not in ('nugget', 'surface_scale'))}]",
                 f"output={tmp_path / 'fitted.yaml'}"]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fit_first_guess(compose("fit_first_guess", overrides), overrides)
    fitted = instantiate(OmegaConf.load(tmp_path / "fitted.yaml"))
    assert fitted.background == "climatology"
    assert fitted.regressions is True
    assert not isinstance(fitted.surface_scale, list)


def test_the_search_finds_the_bottom_of_a_bowl_and_respects_its_limits() -> None:
    settings = {
        "latitude_scale": Setting(100, 1, 1e5, ""),
        "longitude_scale": Setting(100, 1, 3000, ""),
    }

    def bowl(values: dict[str, Any]) -> float:
        return math.log(values["latitude_scale"] / 700) ** 2 + math.log(values["longitude_scale"] / 5000) ** 2

    best = search(settings, bowl, surface_fields=0)
    assert best["latitude_scale"] == pytest.approx(700, rel=0.05)
    assert best["longitude_scale"] == 3000


def test_each_surface_field_has_a_value_of_its_own_and_none_without_surface_fields() -> None:
    settings = {"surface_scale": Setting(1, 0.1, 10, "", each_surface=True)}

    def score(values: dict[str, Any]) -> float:
        return sum(
            math.log(value / best) ** 2 for value, best in zip(values["surface_scale"], (2, 4), strict=True)
        )

    assert search(settings, score, surface_fields=2)["surface_scale"] == pytest.approx([2, 4], rel=0.05)
    assert search(settings, lambda values: float(len(values)), surface_fields=0) == {}


def test_crps_of_a_standard_normal_at_its_mean() -> None:
    class Standard(InverseDistance):
        def leave_one_out(self, patches: PatchData) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(patches.shape), torch.ones(patches.shape)

    observed = torch.tensor([[[[True, False, True]]]])
    surface = torch.zeros(1, 0, 1, 3)
    patches = PatchData.from_batch(
        {
            "observations": observed.float(),
            "observed_mask": observed,
            "ocean_mask": torch.ones_like(observed),
            "surface": surface,
            "surface_mask": surface.bool(),
            "latitude": torch.zeros(1, 1),
            "longitude": torch.arange(3.0)[None],
        }
    )
    # Gneiting & Raftery 2007: sigma * (2 phi(0) - 1 / sqrt(pi)).
    expected = 2.5 * (2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi))
    assert crps(Standard(), patches, np.array([2.5])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model/first_guess=none", "NoneType, which has no settings to fit; set model/first_guess=oi"),
        ("fixed=[nuget]", r"fixed=\[nuget\]; expected some of covariance, latitude_scale"),
        ("patches=0", "patches=0; expected at least 1"),
    ],
)
def test_a_fit_that_cannot_be_done_is_refused(override: str, message: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("fit_first_guess", [override])
    with pytest.raises(UserError, match=message):
        fit_first_guess(cfg, [override])
