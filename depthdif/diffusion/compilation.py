"""The denoiser through `torch.compile`."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch.nn import Module

from depthdif import UserError

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def check_compile(value: bool | str) -> None:
    """Raise UserError for a value of `model.compile` that is neither a bool nor a mode of `torch.compile`."""
    if not isinstance(value, bool) and value not in MODES:
        raise UserError(
            f"model.compile={value}; expected true, false, or one of {', '.join(MODES)}, such as model.compile=true"
        )


def compile_network(network: Module, mode: bool | str, device: torch.device) -> None:
    """Compile what a call of `network` runs, at its first call; nothing for False, and "default" for True.

    In place: the network stays the same object, with the same keys of its `state_dict`, and reads its weights at each call.

    Raises:
        UserError: on the CPU, no C++ compiler.
    """
    if not mode:
        return
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"model.compile={mode} needs a C++ compiler on the CPU, and {compiler} is not installed: "
            "install it, set the environment variable CXX to another one, or set model.compile=false"
        )
    network.compile(mode="default" if mode is True else mode)
