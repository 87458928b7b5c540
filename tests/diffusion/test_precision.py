from __future__ import annotations

import pytest
import torch

from depthdif import UserError
from depthdif.diffusion.precision import autocast, fastest_precision


@pytest.mark.parametrize(
    ("capabilities", "kernels", "precision"),
    [
        ({"amx_bf16": True}, "AVX512", "bf16-mixed"),
        ({"avx512_bf16": True}, "AVX512", "bf16-mixed"),
        ({"amx_bf16": True}, "AVX2", "32-true"),
        ({"amx_bf16": True}, "DEFAULT", "32-true"),
        ({"avx2": True}, "AVX2", "32-true"),
        ({}, "DEFAULT", "32-true"),
    ],
    ids=str,
)
def test_a_cpu_trains_in_bfloat16_only_where_its_hardware_and_the_kernels_in_use_compute_in_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], kernels: str, precision: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest_precision("cpu") == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_trains_in_bfloat16_only_where_it_does_not_emulate_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation
    )
    assert fastest_precision("auto") == fastest_precision("gpu") == precision


def test_other_accelerators_keep_float32() -> None:
    assert fastest_precision("mps") == "32-true"


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("32", torch.float32),
        ("bf16-mixed", torch.bfloat16),
        ("bf16", torch.bfloat16),
        ("16-mixed", torch.float16),
    ],
)
def test_autocast_computes_as_a_lightning_trainer_of_that_precision(
    precision: str, dtype: torch.dtype
) -> None:
    matrix = torch.ones(2, 2)
    with autocast(precision, torch.device("cpu")):
        assert (matrix @ matrix).dtype == dtype


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "fast"])
def test_a_precision_that_a_chain_cannot_run_in_is_refused_in_one_line(precision: str) -> None:
    with pytest.raises(
        UserError, match=rf"precision is {precision}: expected one of .*set precision=32-true"
    ):
        autocast(precision, torch.device("cpu"))
