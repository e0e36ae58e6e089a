"""What worker processes of every kind need: one thread, and an end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import torch


def start_worker() -> None:
    """First thing in a spawned worker: one torch thread, Ctrl-C left to the parent, and no life beyond it."""
    # Ctrl-C reaches every process of the terminal; the parent alone ends the run.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A killed parent cannot stop its pool; an orphan would wait for work for ever.
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
