from __future__ import annotations

import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from depthdif.data.timed_loader import TimedLoader


class Slow(Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        time.sleep(0.05)
        return index


def test_the_time_that_its_user_waits_is_counted_and_the_time_that_the_user_takes_is_not() -> None:
    loader = TimedLoader(Slow(), batch_size=2)
    started = time.perf_counter()
    for _ in loader:
        time.sleep(0.1)
    taken = time.perf_counter() - started
    assert 0.2 <= loader.seconds_waited <= taken - 0.2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_are_those_of_a_data_loader_in_every_epoch(num_workers: int) -> None:
    def loader(kind: type[DataLoader]) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        return kind(Slow(), batch_size=2, shuffle=True, generator=generator, num_workers=num_workers,
                    persistent_workers=num_workers > 0)  # fmt: skip

    plain, timed = loader(DataLoader), loader(TimedLoader)
    for _ in range(2):
        assert [batch.tolist() for batch in timed] == [batch.tolist() for batch in plain]
