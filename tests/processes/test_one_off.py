"""Work in a process of its own: what comes back, and that nothing is left of it when nobody waits."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alphapulse.processes.one_off import WorkFailed, in_a_process
from tests.launch import ROOT


class No(Exception):
    """What was asked is refused."""


async def add(url: str, ask: tuple[int, int], tell: Callable[[Any], None]) -> tuple[str, int, int]:
    for n in range(1_000):
        tell(n)
    return url, sum(ask), os.getpid()


async def refuse(_url: str, ask: str, _tell: Callable[[Any], None]) -> None:
    raise No(f"{ask} is none") if ask != "bug" else RuntimeError("a bug")


async def last(_url: str, _ask: None, tell: Callable[[Any], None]) -> None:
    """Says who it is, and goes on for ever: not even its event loop gets a turn."""
    tell(os.getpid())
    while True:
        time.sleep(0.01)  # noqa: ASYNC251  on purpose


async def test_the_result_comes_back_from_another_process_and_progress_is_thinned() -> None:
    told: list[int] = []
    url, total, pid = await in_a_process(add, "postgresql://x", (2, 3), told.append)
    assert (url, total) == ("postgresql://x", 5)
    assert pid != os.getpid()
    assert 1 <= len(told) < 50


async def test_a_refusal_and_a_failure_are_told_apart() -> None:
    with pytest.raises(No, match="7 is none"):
        await in_a_process(refuse, "", "7", print, refusals=(No,), refused=No)
    with pytest.raises(WorkFailed, match="RuntimeError: a bug"):
        await in_a_process(refuse, "", "bug", print, refusals=(No,), refused=No)


async def begun(told: list[int]) -> int:
    async with asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.02)
    return told[0]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()


async def test_a_process_that_is_killed_is_a_failure_that_says_so() -> None:
    told: list[int] = []
    work = asyncio.create_task(in_a_process(last, "", None, told.append))
    os.kill(await begun(told), signal.SIGKILL)
    with pytest.raises(WorkFailed, match="ended with code -9"):
        await work


async def test_who_no_longer_waits_ends_the_process_at_once() -> None:
    told: list[int] = []
    work = asyncio.create_task(in_a_process(last, "", None, told.append))
    pid = await begun(told)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not is_there(pid)


PARENT = """
import asyncio, sys
from alphapulse.processes.one_off import in_a_process
from tests.processes.test_one_off import last
if __name__ == "__main__":
    tell = lambda pid: print(pid, flush=True)
    asyncio.run(in_a_process(last, "", None, tell))
"""


def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_there(pid):
        assert time.monotonic() < deadline, f"{pid} goes on in secret"
        time.sleep(0.02)
