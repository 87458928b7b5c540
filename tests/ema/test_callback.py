"""Arguments, logged numbers and advice of the callback. What may go wrong in a run: tests/test_ema_failures.py."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from depthdif.ema import EMACallback
from depthdif.ema.decay import PowerDecay

CONF = Path(__file__).resolve().parents[2] / "conf"
KEYS = {
    "ema/decay",
    "ema/effective_decay",
    "ema/weight_mean_abs_delta",
    "ema/weight_rms_delta",
    "ema/weight_relative_rms_delta",
    "ema/weight_max_abs_delta",
    "ema/tracked_floating_tensors",
}


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(ema: EMACallback, module: pl.LightningModule | None = None, **options: Any) -> pl.Trainer:
    data = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(data, batch_size=2)  # type: ignore[arg-type]
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = pl.Trainer(
        callbacks=[ema], **(quiet | {"max_epochs": 2, "enable_checkpointing": False} | options)
    )
    trainer.fit(module or Net(), loader, loader)
    return trainer


def test_defaults_are_those_of_the_contract() -> None:
    ema = EMACallback()
    assert (ema.decay, ema.apply_every_n_steps, ema.start_step, ema.warmup) == (0.9999, 1, 0, False)
    assert ema.save_ema_weights_in_callback_state
    assert ema.evaluates == "ema"
    assert ema.variants == ("standard", "ema")
    assert EMACallback(extra_decays=[0.99, 0.999999]).variants == (
        "standard",
        "ema",
        "ema_0.99",
        "ema_0.999999",
    )
    assert EMACallback(evaluate_ema_weights_instead=False).evaluates == "standard"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decay", -0.1),
        ("decay", float("nan")),
        ("decay", "0.99"),
        ("decay", True),
        ("decay", None),
        ("decay", "width_0.5"),
        ("decay", "width_wide"),
        ("apply_every_n_steps", 0),
        ("apply_every_n_steps", 1.5),
        ("start_step", -1),
        ("start_step", None),
        ("save_ema_weights_in_callback_state", "yes"),
        ("evaluate_ema_weights_instead", 1),
        ("warmup", "true"),
        ("extra_decays", [0.9, 1.2]),
        ("extra_decays", [0.9, 0.9]),
        ("extra_decays", [0.9999]),
        ("extra_decays", 0.9),
        ("extra_decays", "0.9"),
        ("extra_decays", ["width_0.1", "width_0.10"]),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_override(field: str, value: object) -> None:
    with pytest.raises(
        ValueError, match=rf"EMACallback: {field}: expected .*; set model\.ema\.{field}="
    ) as error:
        EMACallback(**{field: value})  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["default", "quick"])
def test_the_shipped_configs_build_the_callback(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(f"model/ema/{name}").model.ema
    assert config.enabled == (name == "quick")
    documented = {key: value for key, value in config.items() if key not in ("enabled", "_target_")}
    defaults = EMACallback.__init__.__defaults__
    names = EMACallback.__init__.__code__.co_varnames[1 : len(defaults) + 1]
    assert list(documented) == list(names)
    ema = instantiate({key: value for key, value in config.items() if key != "enabled"})
    assert isinstance(ema, EMACallback)
    assert ema.decay == (0.9999 if name == "default" else 0.99)
    if name == "default":
        assert tuple(documented.values())[:-1] == defaults[:-1]


def test_the_keys_of_the_contract_are_logged_once_per_validation_epoch(tmp_path: Path) -> None:
    ema = EMACallback(0.9, extra_decays=[0.5])
    trainer = fit(ema, logger=CSVLogger(tmp_path, version=0), val_check_interval=5, num_sanity_val_steps=2)
    logged = {key for key in trainer.callback_metrics if key.startswith("ema")}
    extra = {key.replace("ema/", "ema_0.5/") for key in KEYS}
    assert logged == KEYS | extra | {"ema/skipped_updates"}
    header, *rows = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()
    column = header.split(",").index("ema/weight_rms_delta")
    assert sum(bool(row.split(",")[column]) for row in rows) == 4
    assert trainer.callback_metrics["ema/tracked_floating_tensors"] == 2
    assert trainer.callback_metrics["ema/decay"] == pytest.approx(0.9)


def test_distances_are_zero_before_the_start_and_positive_after() -> None:
    assert fit(EMACallback(0.9, start_step=1000)).callback_metrics["ema/weight_rms_delta"] == 0
    assert fit(EMACallback(0.9)).callback_metrics["ema/weight_rms_delta"] > 0


def test_the_configured_decay_is_logged_and_beside_it_the_effective_one_of_the_last_update() -> None:
    metrics = fit(EMACallback(0.9999, warmup=True)).callback_metrics
    assert metrics["ema/decay"] == pytest.approx(0.9999)
    assert metrics["ema/effective_decay"] == pytest.approx((1 + 19) / (10 + 19))


def test_a_power_function_average_logs_its_relative_width_in_the_place_of_a_decay() -> None:
    metrics = fit(EMACallback("width_0.1", extra_decays=[0.9])).callback_metrics
    assert "ema/decay" not in metrics
    assert metrics["ema/relative_width"] == pytest.approx(0.1)
    assert metrics["ema/effective_decay"] == pytest.approx((1 - 1 / 20) ** (PowerDecay(0.1).gamma + 1))
    assert metrics["ema_0.9/decay"] == metrics["ema_0.9/effective_decay"] == pytest.approx(0.9)


def test_the_decay_of_each_average_is_public_by_its_variant() -> None:
    ema = EMACallback(0.99, extra_decays=["width_0.1", 0.9])
    assert ema.decays == {"ema": 0.99, "ema_width_0.1": PowerDecay(0.1), "ema_0.9": 0.9}
    assert tuple(ema.decays) == ema.variants[1:]


def test_a_decay_too_long_for_the_run_warns_once_and_suggests_the_suited_one() -> None:
    expected = r"10000 updates, more than the 20 planned: 100 % of .* initial weights; set model/ema=suited .*decay 0.5,"
    with pytest.warns(UserWarning, match=expected) as warned:
        fit(EMACallback(0.9999))
    (advice,) = [str(warning.message) for warning in warned if "planned" in str(warning.message)]
    assert "\n" not in advice
    for ema, options in (
        (EMACallback(0.9), {}),
        (EMACallback(0.9999, warmup=True), {}),
        (EMACallback(0.9999), {"max_epochs": -1, "max_time": "00:00:00:01"}),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(ema, **options)
        assert not [warning for warning in caught if "updates, more than" in str(warning.message)]


def test_weights_of_an_unknown_variant_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of standard, ema, got 'ema_0\.5'"):
        EMACallback().weights("ema_0.5")


def test_before_a_run_there_are_no_averages_and_contexts_change_nothing() -> None:
    ema = EMACallback()
    assert ema.ema_weights == {}
    assert ema.updates == ema.skipped_updates == 0
    assert ema.state_dict() == {}
    with ema.weights("ema"), ema.weights("standard"):
        pass


def test_the_package_and_its_plain_parts_import_no_lightning() -> None:
    code = (
        "import sys, depthdif.ema as ema; ema.EMA, ema.load_weights, ema.ModuleAverages; "
        "assert 'pytorch_lightning' not in sys.modules; sys.modules['pytorch_lightning'] = None; ema.EMACallback"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    # The callback is the first to want Lightning, which cannot be imported here.
    assert "import of pytorch_lightning halted" in finished.stderr.splitlines()[-1]


class Lazy(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.LazyLinear(1)  # type: ignore[assignment]

    def configure_optimizers(self) -> None:
        return None


def test_a_module_that_cannot_be_averaged_is_refused_by_an_error_of_lightning_that_is_a_value_error() -> None:
    with pytest.raises(MisconfigurationException, match=r"'layer\.weight' has no shape yet") as error:
        fit(EMACallback(), module=Lazy(), num_sanity_val_steps=0)
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)
