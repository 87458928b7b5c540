"""Loading weights for inference, from our files and others'."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from depthdif.ema import load_weights, read_checkpoint, select_weights

RAW = {"net.weight": torch.ones(2), "net.bias": torch.zeros(1)}
AVERAGE = {"net.weight": torch.full((2,), 0.5), "net.bias": torch.full((1,), 0.25)}


def write(path: Path, **content: Any) -> Path:
    torch.save({"state_dict": RAW, **content}, path)
    return path


def ours(**more: Any) -> dict[str, Any]:
    return {"EMACallback": {"decay": 0.999, "updates": 7, "ema_weights": AVERAGE, **more}}


def values(state: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {key: tensor.tolist() for key, tensor in state.items()}


def test_averages_are_loaded_where_there_are_any_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.ckpt", callbacks=ours())
    with caplog.at_level(logging.INFO):
        state, which = load_weights(path)
    assert which == "ema"
    assert values(state) == values(AVERAGE)
    assert caplog.messages == [f"loaded the EMA weights (decay 0.999) of {path}"]


def test_standard_weights_are_loaded_where_there_is_no_average(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for callbacks in (
        {},
        {"EMA": {"cur_step": 3, "ema_weights": None}},
        {"EMACallback": {"decay": 0.9, "updates": 3}},
    ):
        path = write(tmp_path / "a.ckpt", callbacks=callbacks)
        with caplog.at_level(logging.INFO):
            assert load_weights(path).which == "standard"
    assert caplog.messages[-1] == f"loaded the standard weights of {path}: it holds no average"


def test_an_average_without_any_update_is_not_preferred(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", callbacks=ours(updates=0))
    assert load_weights(path).which == "standard"
    assert load_weights(path, "ema").which == "ema"


@pytest.mark.parametrize("which", [0.5, "0.5", "ema_0.5"])
def test_a_further_average_is_chosen_by_its_decay_or_name(tmp_path: Path, which: str | float) -> None:
    other = {"net.weight": torch.full((2,), 9.0), "net.bias": torch.full((1,), 9.0)}
    path = write(tmp_path / "a.ckpt", callbacks=ours(extra_ema_weights={"ema_0.5": other}))
    state, name = load_weights(path, which)
    assert name == "ema_0.5"
    assert values(state) == values(other)
    assert load_weights(path, 0.999).which == "ema"
    assert values(load_weights(path, "standard").state_dict) == values(RAW)


def test_the_error_about_missing_weights_lists_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", callbacks=ours())
    with pytest.raises(ValueError, match=r"holds no 0.5 weights; it holds standard, ema \(decay 0.999\)"):
        load_weights(path, 0.5)
    with pytest.raises(ValueError, match="holds no 'ema' weights; it holds standard"):
        load_weights(write(tmp_path / "b.ckpt"), "ema")


@pytest.mark.parametrize("as_list", [False, True])
def test_files_of_depthdif_and_nemo_are_read(tmp_path: Path, as_list: bool) -> None:
    weights = list(AVERAGE.values()) if as_list else AVERAGE
    path = write(tmp_path / "a.ckpt", callbacks={"EMA": {"cur_step": 5, "ema_weights": weights}})
    state, which = load_weights(path)
    assert which == "ema"
    assert values(state) == values(AVERAGE)


def test_files_of_lightning_weight_averaging_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": AVERAGE, "current_model_state": RAW, "averaging_state": {}}, path)
    assert values(load_weights(path).state_dict) == values(AVERAGE)
    assert values(load_weights(path, "standard").state_dict) == values(RAW)


def test_tensors_that_an_average_lacks_are_standard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.ckpt", callbacks=ours(ema_weights={"net.weight": AVERAGE["net.weight"]}))
    with caplog.at_level(logging.INFO):
        state, _ = load_weights(path)
    assert values(state) == {"net.weight": [0.5, 0.5], "net.bias": [0.0]}
    assert "1 tensors that it lacks are standard" in caplog.text


def test_prefixes_of_compile_and_ddp_are_left_out(tmp_path: Path) -> None:
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        torch.save(
            {"state_dict": {f"{prefix}{key}": value for key, value in RAW.items()}}, tmp_path / "a.ckpt"
        )
        assert values(load_weights(tmp_path / "a.ckpt").state_dict) == values(RAW)


def test_plain_hyper_parameters_and_data_module_state_are_read(tmp_path: Path) -> None:
    content = {"hyper_parameters": {"sampler": {"steps": 5}}, "OceanDataModule": {"mean": torch.zeros(3)}}
    path = write(tmp_path / "a.ckpt", callbacks=ours(), **content)
    assert read_checkpoint(path)["hyper_parameters"] == {"sampler": {"steps": 5}}
    assert load_weights(path).which == "ema"


def test_the_error_about_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such checkpoint file"):
        load_weights(tmp_path / "none.ckpt")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_gives_one_clear_error(tmp_path: Path, share: float) -> None:
    content = write(tmp_path / "a.ckpt", callbacks=ours(), more=torch.randn(1000)).read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cut.ckpt: truncated or no PyTorch checkpoint") as error:
        load_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04", b"PK\x03\x04 no zip", b"\x89HDF\r\n"])
def test_a_foreign_file_gives_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or no PyTorch checkpoint") as error:
        load_weights(tmp_path / "a.ckpt")
    assert "\n" not in str(error.value)


def test_the_error_about_a_missing_state_dict_lists_the_keys(tmp_path: Path) -> None:
    torch.save({"model": 1, "optimizer": 2}, tmp_path / "a.ckpt")
    with pytest.raises(
        ValueError, match="expected a checkpoint with a state_dict, got the keys model, optimizer"
    ):
        load_weights(tmp_path / "a.ckpt")
    torch.save([1, 2], tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match="got a list"):
        load_weights(tmp_path / "b.ckpt")


class Evil:
    ran = False

    def __reduce__(self) -> Any:
        return exec, ("import pathlib; raise SystemExit('code of a checkpoint ran')",)


def test_no_code_from_a_checkpoint_is_ever_run(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", callbacks=ours(), payload=Evil())
    with pytest.raises(ValueError, match=r"only code can rebuild \(.*exec\), which is never run") as error:
        load_weights(path)
    assert "\n" not in str(error.value)


def test_a_folder_of_shards_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dcp_to_torch"):
        load_weights(tmp_path)


class Renamed(pl.LightningModule):
    """Its hook renames `net.*` to `body.*` and doubles the weight in place: done twice, or on a part, it fails or shows."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        for key in list(state):
            if isinstance(state[key], torch.Tensor):
                state[key.replace("net.", "body.")] = state.pop(key)
        (weight,) = [tensor for key, tensor in state.items() if key.endswith("weight")]
        weight.mul_(2)
        checkpoint["hyper_parameters"].pop("old")


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("which", ["standard", "ema", "ema_0.5"])
def test_the_hook_of_a_module_migrates_the_weights_that_are_loaded(
    tmp_path: Path, which: str, prefix: str
) -> None:
    further = {"net.weight": torch.full((2,), 9.0), "net.bias": torch.full((1,), 9.0)}
    path = tmp_path / "a.ckpt"
    # The hook meets the keys of the file, averages have those of the plain module.
    state_dict = {f"net.{prefix}{key.removeprefix('net.')}": tensor for key, tensor in RAW.items()}
    callbacks = ours(extra_ema_weights={"ema_0.5": further})
    torch.save({"state_dict": state_dict, "hyper_parameters": {"old": 1}, "callbacks": callbacks}, path)
    weight = {"standard": 2.0, "ema": 1.0, "ema_0.5": 18.0}[which]
    checkpoint = read_checkpoint(path)
    for _ in range(2):
        state, name = select_weights(checkpoint, which, path, Renamed())
        assert name == which
        assert set(state) == {"body.weight", "body.bias"}
        assert state["body.weight"].tolist() == [weight, weight]
    assert checkpoint["hyper_parameters"] == {"old": 1}
    assert values(load_weights(path, which).state_dict).keys() == RAW.keys()
    assert load_weights(path, which, module=torch.nn.Linear(1, 1)).state_dict.keys() == RAW.keys()


def test_tensors_that_an_average_lacks_are_migrated_standard_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    average = {"net.weight": AVERAGE["net.weight"]}
    path = write(tmp_path / "a.ckpt", callbacks=ours(ema_weights=average), hyper_parameters={"old": 1})
    with caplog.at_level(logging.INFO):
        state, _ = load_weights(path, "ema", Renamed())
    assert values(state) == {"body.weight": [1.0, 1.0], "body.bias": [0.0]}
    assert "1 tensors that it lacks are standard" in caplog.text


def test_the_standard_weights_beside_those_of_lightning_weight_averaging_are_migrated_too(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.ckpt"
    content = {"current_model_state": RAW, "averaging_state": {}, "hyper_parameters": {"old": 1}}
    torch.save({"state_dict": AVERAGE, **content}, path)
    for which, weight in (("ema", 1.0), ("standard", 2.0)):
        state = load_weights(path, which, Renamed()).state_dict
        assert state["body.weight"].tolist() == [weight, weight]
