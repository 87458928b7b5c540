"""The textbook that the first guess is timed against is the same interpolation."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from depthdif.data.dataset import Sample, collate
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_textbook_of_the_benchmark_equals_the_first_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("benchmark_data")
    generator = np.random.default_rng(0)
    observed = generator.random((3, 6, 7)) < 0.2
    sample: Sample = {
        "observations": np.where(observed, generator.normal(size=observed.shape), 0).astype(np.float32),
        "observed_mask": observed,
        "ocean_mask": np.ones_like(observed),
        "surface": generator.normal(size=(2, 6, 7)).astype(np.float32),
        "surface_mask": np.ones((2, 6, 7), bool),
        "latitude": np.linspace(30, 40, 6, dtype=np.float32),
        "longitude": np.linspace(-50, -40, 7, dtype=np.float32),
    }
    oi = OptimalInterpolation(400.0, 600.0, 1.5, 0.01, 1.4, 0.2, [0.7, 0.3], 0.3, 5.0)
    batch = collate([sample], oi)
    estimate, variance = benchmark.textbook(oi, sample)
    np.testing.assert_allclose(batch["first_guess"][0], estimate, atol=1e-6)
    np.testing.assert_allclose(batch["first_guess_error"][0] ** 2, variance, atol=1e-6)
