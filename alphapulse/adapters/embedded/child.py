"""Becomes a server process: drops privileges, asks to die with its parent, then execs.

Run as ``python -I -S child.py PARENT SIGNAL UID GID PROGRAM ARG…`` (UID and GID ``-1``: keep ours). A
program of its own rather than ``preexec_fn``, which may deadlock when the parent has threads. Standard
library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signal_number: int) -> None:
    """Have the kernel send ``signal_number`` to this process once its parent's thread ends (Linux only)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # the parent was gone before we asked
        sys.exit(1)


def main(argv: list[str]) -> None:
    parent, signal_number, uid, gid = (int(word) for word in argv[:4])
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a parent that waits for signals has blocked them
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    die_with_parent(parent, signal_number)  # after setuid, which would clear it
    os.execv(argv[4], argv[4:])  # noqa: S606  there is no shell to want


if __name__ == "__main__":
    main(sys.argv[1:])
