"""Two CPU processes: DDP and FSDP2 with uneven shards. One launch, looked at from several sides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from depthdif.ema import load_weights

pytestmark = pytest.mark.end_to_end

SCRIPT = Path(__file__).parent / "two_processes.py"


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launched")
    for kind in ("ddp", "fsdp2"):
        (folder / kind).mkdir()
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def run(request: pytest.FixtureRequest, launched: Path) -> tuple[Path, list[Any]]:
    folder = launched / request.param
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def agree(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], atol=1e-6) for key in one)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_averages_are_identical_on_all_ranks(run: tuple[Path, list[Any]]) -> None:
    _, (first, second) = run
    assert same(first["ema"], second["ema"])
    assert first["updates"] == second["updates"] == 4


def test_averages_equal_the_plain_average_of_the_first_process(run: tuple[Path, list[Any]]) -> None:
    _, (first, _) = run
    assert agree(first["ema"], first["expected"])
    assert not same(first["ema"], first["raw"])


def test_validation_sees_the_averages_and_training_goes_on_with_the_raw_weights(
    run: tuple[Path, list[Any]],
) -> None:
    _, ranks = run
    for rank in ranks:
        assert agree(rank["seen"], rank["ema"])
    # Under DDP only the first process's batch statistics are kept: validation hands them to the others.
    first = ranks[0]
    assert same(first["raw"], first["last"])


def test_the_file_holds_whole_raw_weights_and_whole_averages(run: tuple[Path, list[Any]]) -> None:
    folder, (first, _) = run
    assert same(load_weights(folder / "one.ckpt", "standard").state_dict, first["raw"])
    assert same(load_weights(folder / "one.ckpt").state_dict, first["ema"])


def test_a_resumed_run_equals_the_uninterrupted_one(run: tuple[Path, list[Any]]) -> None:
    _, ranks = run
    for rank in ranks:
        assert agree(rank["resumed raw"], rank["uninterrupted raw"])
        assert agree(rank["resumed"], rank["uninterrupted"])


def test_distances_are_over_all_shards(run: tuple[Path, list[Any]]) -> None:
    _, (first, second) = run
    floating = [key for key, value in first["ema"].items() if value.is_floating_point()]
    deltas = [(first["ema"][key] - first["raw"][key]).double().flatten() for key in floating]
    expected = torch.cat(deltas).square().mean().sqrt()
    assert first["metrics"]["ema/weight_rms_delta"] == pytest.approx(float(expected), rel=1e-5)
    assert first["metrics"] == second["metrics"]
