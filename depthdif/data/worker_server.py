"""The server process that worker processes are forked from."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

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
