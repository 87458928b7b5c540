from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "benchmark_training.py"


@pytest.fixture
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_training", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_training"] = module
    spec.loader.exec_module(module)
    return module


def test_the_steps_of_the_warm_up_are_not_counted(benchmark: ModuleType) -> None:
    slow = [float(second) for second in range(100, 100 * (benchmark.WARM_UP + 1), 100)]
    quick = [slow[-1] + 0.5 * step for step in range(1, 11)]
    assert benchmark.steps_per_second(slow + quick) == 2.0


def test_every_training_is_measured_and_the_plain_loop_is_the_limit(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("ROUNDS", 1), ("STEPS", 2), ("WARM_UP", 1)):
        monkeypatch.setattr(benchmark, name, value)
    benchmark.main(["data=synthetic", "model/denoiser=unet_tiny", "model/first_guess=none",
                    "trainer.accelerator=cpu"])  # fmt: skip
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows[2:]] == list(benchmark.CANDIDATES)
    assert rows[2][2].strip() == "1.00"
    assert all(float(row[1]) > 0 for row in rows[2:])
