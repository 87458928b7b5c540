"""Timings of candidates that take turns in every round, so that a slow moment of the machine meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

Action = Callable[[], object]


@torch.no_grad()
def measure(
    candidates: dict[str, Action], device: torch.device, rounds: int
) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each candidate, and median ratio to the first one in the same round.

    Two rounds before the counted ones warm up.
    """
    times_of_rounds = [
        {name: milliseconds(action, device) for name, action in candidates.items()} for _ in range(rounds + 2)
    ]
    first = next(iter(candidates))
    warm = times_of_rounds[2:]
    return {
        name: (
            statistics.median(times[name] for times in warm),
            statistics.median(times[name] / times[first] for times in warm),
        )
        for name in candidates
    }


def milliseconds(action: Action, device: torch.device) -> float:
    """Time of one call, until the device has finished; CPU time on one thread, which a busy machine disturbs less."""
    on_one_thread = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if on_one_thread else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (clock() - start)
