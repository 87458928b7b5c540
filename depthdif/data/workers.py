"""The worker processes of a loader: the server that they are forked from, and the signals that they ignore.

Only light imports: a program starts the server before it imports anything else.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from signal import SIG_IGN, SIGINT, SIGUSR1, SIGUSR2, signal

# What a worker imports: the script of the main process, which needs Hydra, and the data set.
PRELOADED = ["hydra", "depthdif.data.dataset"]


def worker_context() -> BaseContext:
    """A `forkserver` context for a DataLoader, whose server is running.

    The server takes seconds to import what samples need. A program that calls this first imports at the same time.
    A remote store that was opened before a plain fork errors or hangs in the worker, so that workers are not forked from
    the main process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context


def ignore_stop_signals(worker: int) -> None:
    """Leave Ctrl-C, SIGUSR1 and SIGUSR2 to the process that trains: it still needs the data of the batch, or of a validation.

    A terminal, and some configurations of SLURM, send them to all processes. The trainer ends its workers by other means.
    """
    for number in (SIGINT, SIGUSR1, SIGUSR2):
        signal(number, SIG_IGN)
