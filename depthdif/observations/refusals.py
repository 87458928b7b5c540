"""Counts of what was refused, by reason."""

from __future__ import annotations

from collections import Counter


class Refusals:
    """Counts of refused profiles and samples by reason, and of samples that were taken with a remark."""

    def __init__(self) -> None:
        self.profile_counts: Counter[str] = Counter()
        self.sample_counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def profiles(self, reason: str, count: int) -> None:
        self.profile_counts[reason] += count

    def samples(self, reason: str, count: int) -> None:
        self.sample_counts[reason] += count

    def note(self, reason: str, count: int) -> None:
        self.notes[reason] += count
