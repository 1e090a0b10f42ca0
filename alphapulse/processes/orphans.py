"""Worker processes that do not outlive the process that started them."""

import multiprocessing
import os
import threading


def die_with_parent() -> None:
    """Have this worker end when its parent does: a killed one must leave nothing that goes on in secret."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
