"""Signals in the worker processes of a loader."""

from __future__ import annotations

from signal import SIG_IGN, SIGINT, SIGUSR1, SIGUSR2, signal


def ignore_stop_signals(worker: int) -> None:
    """Leave Ctrl-C, SIGUSR1 and SIGUSR2 to the process that trains: it still needs the data of the batch, or of a validation.

    A terminal, and some configurations of SLURM, send them to all processes. The trainer ends its workers by other means.
    """
    for number in (SIGINT, SIGUSR1, SIGUSR2):
        signal(number, SIG_IGN)
