"""Launchers in a process of their own, to be killed; and ordinary users, where the tests run as root."""

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from alphapulse.adapters.embedded.process import can_run, server_account

ROOT = Path(__file__).parent.parent
IS_ROOT = os.geteuid() == 0

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root becomes another user")


@contextlib.contextmanager
def launched(code: str, *arguments: object, as_user: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``code``; killed at the end if it still lives."""
    command = [*python_for_user(), "-c", code] if as_user else [sys.executable, "-c", code]
    with _started([*command, *map(str, arguments)], environment()) as process:
        yield process


@contextlib.contextmanager
def _started(command: Sequence[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd="/")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


@contextlib.contextmanager
def command_line(*words: object, as_user: bool = False, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """``alphapulse WORDS…`` as a process of its own."""
    python = python_for_user() if as_user else [sys.executable]
    command = [*python, "-m", "alphapulse", *map(str, words)]
    with _started(command, environment() | variables) as process:
        yield process


def finished(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """``alphapulse WORDS…``, run to its end."""
    command = [sys.executable, "-m", "alphapulse", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd="/",
        env=environment() | variables,
    )


def environment() -> dict[str, str]:
    """Ours without AlphaPulse's settings, and with this checkout on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALPHAPULSE_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}


def python_for_user() -> list[str]:
    """How to run this Python as an ordinary user; skips the test where that cannot be."""
    if not IS_ROOT:
        return [sys.executable]
    setpriv, user = shutil.which("setpriv"), pwd.getpwnam("nobody")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    account = server_account(Path("/nonexistent"))
    assert account
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in [Path(sys.executable), Path("/usr/bin") / name, Path("/usr/local/bin") / name]:
        if candidate.exists() and can_run(candidate, account) and can_run(Path(__file__).parent, account):
            packages = os.pathsep.join(
                [str(ROOT), *(path for path in sys.path if path.endswith("-packages"))]
            )
            become = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            return [*become, "env", f"PYTHONPATH={packages}", "HOME=/nonexistent", str(candidate)]
    pytest.skip(f"no {name} that another user can run: {sys.executable} is closed to them")


def line_of(process: subprocess.Popen[str], timeout_s: float = 60) -> str:
    """The next line that ``process`` prints."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    assert ready, f"no line in {timeout_s} s"
    return process.stdout.readline().strip()


def eventually(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
