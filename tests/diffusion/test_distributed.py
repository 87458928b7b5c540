"""What several processes need that one process can show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from depthdif import UserError
from depthdif.diffusion.distributed import blocks, first_of_each, gathered, shard


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_repeated_samples_are_left_out_and_the_others_ordered(index: list[int]) -> None:
    places = first_of_each(torch.tensor(index)).tolist()
    assert [index[place] for place in places] == sorted(set(index))
    assert all(index.index(index[place]) == place for place in places)


def test_a_single_process_gathers_its_own_part() -> None:
    part = torch.arange(6).reshape(2, 3)
    assert torch.equal(gathered(part, torch.device("cpu")), part)


def test_tensor_parallelism_is_refused() -> None:
    mesh: Any = {"tensor_parallel": SimpleNamespace(size=lambda: 2)}
    with pytest.raises(UserError, match="set trainer=fsdp2"):
        shard(nn.Linear(1, 1), mesh)


def test_blocks_are_the_members_of_the_outermost_lists_at_any_depth() -> None:
    inner = nn.ModuleList([nn.Linear(1, 1)])
    block = nn.ModuleDict({"inner": inner, "other": nn.Linear(1, 1)})
    unet = nn.ModuleDict({"stem": nn.Linear(1, 1), "blocks": nn.ModuleList([block, nn.Linear(1, 1)])})
    model = nn.Sequential(unet)
    assert list(blocks(model)) == list(unet["blocks"].children())
