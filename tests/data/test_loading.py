"""How draws and fixed patches are dealt out to the processes of a run, and what waiting for batches is counted."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from depthdif.data.loading import DrawSampler, Position, SharedBatches, TimedLoader


@given(
    ranks=st.integers(1, 4), batch_size=st.integers(1, 5), batches=st.integers(1, 4), done=st.integers(0, 50)
)
def test_ranks_share_consecutive_draws_without_overlap(
    ranks: int, batch_size: int, batches: int, done: int
) -> None:
    length = ranks * batch_size * batches
    samplers = [DrawSampler(length, lambda: done, rank, ranks) for rank in range(ranks)]
    rows = [list(sampler) for sampler in samplers]
    assert all(
        len(row) == len(sampler) == batch_size * batches for row, sampler in zip(rows, samplers, strict=True)
    )
    for batch in range(batches):
        drawn = sorted(d for row in rows for d in row[batch * batch_size : (batch + 1) * batch_size])
        start = done + batch * batch_size * ranks
        assert drawn == list(range(start, start + batch_size * ranks))


def test_draws_go_on_where_training_stands() -> None:
    done = 0
    sampler = DrawSampler(8, lambda: done)
    assert list(sampler) == list(range(8))
    done = 8
    sampler.set_epoch(7)
    assert list(sampler) == list(range(8, 16))


def test_draws_are_counted_over_resumes_with_other_batches() -> None:
    # 10 batches of 16 patches on one device, 5 of 32 on two, 4 of 8.
    position = Position().after(10, 16)
    assert position == Position(draws=160, batches=10, batch_size=16)
    position = position.after(15, 32)
    assert position == Position(draws=320, batches=15, batch_size=32)
    assert position.after(19, 8) == Position(draws=352, batches=19, batch_size=8)


@given(length=st.integers(1, 40), batch_size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_the_parts_of_all_ranks_are_the_batches_of_one_process(
    length: int, batch_size: int, ranks: int
) -> None:
    samplers = [SharedBatches(length, batch_size, rank, ranks) for rank in range(ranks)]
    rows = [list(sampler) for sampler in samplers]
    # Collective operations need as many samples on each rank.
    assert {len(row) for row in rows} == {len(sampler) for sampler in samplers} == {len(rows[0])}
    size = samplers[0].part_size
    for number, start in enumerate(range(0, length, batch_size)):
        whole = [sample for row in rows for sample in row[number * size : (number + 1) * size]]
        expected = list(range(start, min(start + batch_size, length)))
        assert whole[: len(expected)] == expected
        assert set(whole[len(expected) :]) <= {expected[-1]}


def test_one_process_gets_every_sample_once() -> None:
    assert list(SharedBatches(7, 3)) == list(range(7))


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
