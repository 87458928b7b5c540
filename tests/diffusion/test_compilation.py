from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.diffusion.compilation import compile_network
from depthdif.diffusion.denoiser import UNetDenoiser
from depthdif.ema import ModuleAverages, averaged
from depthdif.training import train

CPU = torch.device("cpu")
RUN = ("trainer.max_steps=2", "logger=csv", "model.ema.enabled=true", "model.ema.decay=0.5",
       "model.denoiser.dropout=0.1", "trainer.num_sanity_val_steps=0")  # fmt: skip


def test_a_compiled_network_keeps_its_keys_and_reads_the_weights_that_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is traced is run by the kernels of PyTorch: no C++ compiler is needed, and no minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setenv("CXX", "true")
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    keys, image = list(network.state_dict()), torch.randn(5, 3)
    compile_network(network, True, CPU)
    before = network(image)
    assert list(network.state_dict()) == keys
    averages = ModuleAverages(network, [0.5])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    averages.update()
    raw = network(image)
    with averaged(network):
        eager = copy.deepcopy(network)
        torch.testing.assert_close(network(image), eager(image))
        assert not torch.allclose(network(image), raw)
    torch.testing.assert_close(network(image), raw)
    assert not torch.allclose(raw, before)


def test_training_compiles_the_denoiser_alone_and_checkpoints_are_those_of_any_run(
    small_run: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(name: str) -> dict[str, torch.Tensor]:
        return torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    compiled: list[tuple[Any, str]] = []

    def remember(call: Callable[..., Any], mode: str) -> Callable[..., Any]:
        compiled.append((call.__self__, mode))  # type: ignore[attr-defined]
        return call

    train(small_run(*RUN, name="eager"))
    monkeypatch.setattr(torch, "compile", remember)
    monkeypatch.setenv("CXX", "true")
    train(small_run(*RUN, "model.compile=max-autotune", name="compiled"))
    ((network, mode),) = compiled
    assert (type(network), mode) == (UNetDenoiser, "max-autotune")
    eager, saved = last("eager"), last("compiled")
    assert saved.keys() == eager.keys()
    assert all(torch.equal(saved[key], eager[key]) for key in eager)


def test_without_a_compiler_the_error_says_what_to_set(
    small_run: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler is not installed: install it, set the environment"):
        train(small_run(*RUN, "model.compile=true"))


def test_an_unknown_mode_is_an_error_before_training(small_run: Callable[..., DictConfig]) -> None:
    with pytest.raises(InstantiationException, match=r"model\.compile=fast; expected true, false, or one of"):
        train(small_run(*RUN, "model.compile=fast"))
