"""What a first guess does on a device that must not be waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]


@pytest.mark.parametrize("kind", ["oi", "oi_with_regressions", "idw"])
def test_a_first_guess_reads_nothing_back_from_its_device(
    kind: str, full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    first_guess: FirstGuess = InverseDistance()
    if kind != "idw":
        first_guess = OptimalInterpolation(**full, regressions=kind != "oi")
    patches = [make_patch(profiles=count, seed=count, gaps=0.2) for count in (3, 25)]
    for patch in patches:
        patch["surface_slopes"], patch["level_covariance"] = (
            np.ones((4, 1), np.float32),
            np.eye(4, dtype=np.float32),
        )
    there = batched(*patches)
    # A meta tensor has no values: whatever depends on one raises.
    there = there.in_batch(
        {name: part.to("meta") for name, part in vars(there).items() if isinstance(part, torch.Tensor)}
    )
    for field in (*first_guess(there), *first_guess.leave_one_out(there)):
        assert field.device.type == "meta"
        assert field.shape == (2, 4, 7, 9)
