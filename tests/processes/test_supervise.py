"""The supervisor, on small programs that do as they are told: die, linger, shout, hang."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alphapulse.adapters.embedded.process import ServerError, Steps, spawn
from alphapulse.processes import supervise
from alphapulse.processes.logs import RotatingLog
from alphapulse.processes.supervise import LINE_LIMIT, GaveUp, Interrupted, Program, Supervisor
from tests.launch import eventually, is_alive, launched, line_of

POLITE: Steps = ((signal.SIGTERM, 5.0),)


class Watcher:
    """Collects what the supervisor says."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, bool]] = []

    def __call__(self, name: str, message: str, *, problem: bool = False) -> None:
        self.said.append((name, message, problem))

    def about(self, name: str) -> str:
        return "\n".join(message for who, message, _ in self.said if who == name)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(supervise, "LAST_DELAY_S", 0.02)


def make(tmp_path: Path, watcher: Watcher, **options: bool) -> Supervisor:
    return Supervisor(log_for=lambda name: RotatingLog(tmp_path / f"{name}.log"), say=watcher, **options)


def shell(
    name: str,
    script: str,
    *,
    is_ready: Callable[[], bool] = lambda: True,
    stop_steps: Steps = POLITE,
    ready_timeout_s: float = 10,
) -> Program:
    return Program(
        name=name,
        launch=lambda output: spawn(["/bin/sh", "-c", script], on_parent_death=signal.SIGKILL, output=output),
        is_ready=is_ready,
        stop_steps=stop_steps,
        ready_timeout_s=ready_timeout_s,
    )


async def until(holds: Callable[[], object], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_program_that_is_killed_comes_back(tmp_path: Path, watcher: Watcher) -> None:
    supervisor = make(tmp_path, watcher)
    await supervisor.start(shell("a", "sleep 1000"))
    watching = asyncio.create_task(supervisor.watch())
    first = supervisor.pids()["a"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: "is back" in watcher.about("a"))
    second = supervisor.pids()["a"]
    assert second != first
    assert is_alive(second)
    assert "ended with signal SIGKILL; restart 1 in 0.1 s" in watcher.about("a")
    await supervisor.stop()
    await watching
    assert not is_alive(second)


@pytest.mark.usefixtures("quick")
async def test_a_program_that_keeps_dying_is_given_up_after_the_limit(
    tmp_path: Path, watcher: Watcher
) -> None:
    supervisor = make(tmp_path, watcher)
    await supervisor.start(shell("sick", "echo I am unwell; exit 7"))
    with pytest.raises(
        GaveUp, match=rf"sick ended with exit code 7 .*{supervise.RESTART_LIMIT} times"
    ) as given_up:
        await asyncio.wait_for(supervisor.watch(), 30)
    assert "I am unwell" in str(given_up.value)
    assert watcher.about("sick").count("ended with exit code 7") == supervise.RESTART_LIMIT
    await supervisor.stop()


async def test_pauses_between_restarts_grow_to_a_limit(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "FIRST_DELAY_S", 0.1)
    monkeypatch.setattr(supervise, "LAST_DELAY_S", 0.4)
    monkeypatch.setattr(supervise, "RESTART_LIMIT", 4)
    supervisor = make(tmp_path, watcher)
    await supervisor.start(shell("sick", "exit 1"))
    with pytest.raises(GaveUp):
        await asyncio.wait_for(supervisor.watch(), 30)
    pauses = [message.rpartition(" in ")[2] for _, message, _ in watcher.said if "restart" in message]
    assert pauses == ["0.1 s", "0.2 s", "0.4 s", "0.4 s"]
    await supervisor.stop()


async def test_programs_stop_in_reverse_order(tmp_path: Path, watcher: Watcher) -> None:
    record = tmp_path / "record"
    supervisor = make(tmp_path, watcher)
    for name in ("first", "second", "third"):
        script = f"trap 'echo {name} >> {record}; exit 0' TERM; while :; do sleep 0.02; done"
        await supervisor.start(shell(name, script))
    await asyncio.sleep(0.2)
    await supervisor.stop()
    assert record.read_text().split() == ["third", "second", "first"]


async def test_a_program_that_ignores_the_wish_to_stop_is_killed_in_time(
    tmp_path: Path, watcher: Watcher
) -> None:
    supervisor = make(tmp_path, watcher)
    await supervisor.start(
        shell("deaf", "trap '' TERM; while :; do sleep 0.1; done", stop_steps=((signal.SIGTERM, 0.3),))
    )
    pid = supervisor.pids()["deaf"]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(supervisor.stop(), 5)
    assert not is_alive(pid)
    assert "does not stop and is killed" in watcher.about("deaf")


async def test_a_second_wish_to_stop_does_not_wait(tmp_path: Path, watcher: Watcher) -> None:
    supervisor = make(tmp_path, watcher)
    await supervisor.start(
        shell("deaf", "trap '' TERM; while :; do sleep 0.1; done", stop_steps=((signal.SIGTERM, 600),))
    )
    await asyncio.sleep(0.2)
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0.1)
    supervisor.hurry.set()
    await asyncio.wait_for(stopping, 5)


async def test_a_program_that_dies_while_it_starts_is_an_error_with_its_last_words(
    tmp_path: Path, watcher: Watcher
) -> None:
    supervisor = make(tmp_path, watcher)
    with pytest.raises(ServerError, match=r"a ended with exit code 3\n  no such file"):
        await supervisor.start(shell("a", "echo no such file >&2; exit 3", is_ready=lambda: False))
    await supervisor.stop()


async def test_a_program_that_never_gets_ready_is_an_error_after_its_time(
    tmp_path: Path, watcher: Watcher
) -> None:
    supervisor = make(tmp_path, watcher)
    with pytest.raises(ServerError, match="a was not ready after 0 s"):
        await supervisor.start(shell("a", "sleep 100", is_ready=lambda: False, ready_timeout_s=0.2))
    await supervisor.stop()


async def test_a_wish_to_stop_interrupts_a_start(tmp_path: Path, watcher: Watcher) -> None:
    supervisor = make(tmp_path, watcher)
    starting = asyncio.create_task(supervisor.start(shell("a", "sleep 100", is_ready=lambda: False)))
    await asyncio.sleep(0.1)
    supervisor.stop_wanted.set()
    with pytest.raises(Interrupted):
        await asyncio.wait_for(starting, 5)
    await supervisor.stop()


async def test_stopping_while_a_program_waits_for_its_restart_starts_nothing(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "FIRST_DELAY_S", 1000.0)
    monkeypatch.setattr(supervise, "LAST_DELAY_S", 1000.0)
    supervisor = make(tmp_path, watcher)
    await supervisor.start(shell("a", "exit 1"))
    watching = asyncio.create_task(supervisor.watch())
    await until(lambda: "restart 1" in watcher.about("a"))
    await asyncio.wait_for(supervisor.stop(), 5)
    await watching
    assert "is back" not in watcher.about("a")


async def test_output_goes_to_the_log_and_only_alarming_lines_are_shown(
    tmp_path: Path, watcher: Watcher
) -> None:
    supervisor = make(tmp_path, watcher)
    await supervisor.start(shell("a", "echo quiet; echo 2026 ERROR loud >&2; sleep 100"))
    await until(lambda: "loud" in watcher.about("a"))
    await supervisor.stop()
    assert (tmp_path / "a.log").read_text() == "quiet\n2026 ERROR loud\n"
    assert "quiet" not in watcher.about("a")


async def test_everything_is_shown_when_wanted(tmp_path: Path, watcher: Watcher) -> None:
    supervisor = make(tmp_path, watcher, show_all=True)
    await supervisor.start(shell("a", "echo quiet; sleep 100"))
    await until(lambda: watcher.said == [("a", "quiet", False)])
    await supervisor.stop()


async def test_a_line_without_end_is_cut_and_holds_up_nobody(tmp_path: Path, watcher: Watcher) -> None:
    size = 3 * LINE_LIMIT
    script = f"{sys.executable} -c 'import sys; sys.stdout.write(\"x\" * {size})'; echo; echo done; sleep 100"
    supervisor = make(tmp_path, watcher)
    await supervisor.start(shell("a", script))
    await until(lambda: (tmp_path / "a.log").exists() and b"done" in (tmp_path / "a.log").read_bytes())
    await supervisor.stop()
    lines = (tmp_path / "a.log").read_bytes().split(b"\n")
    assert max(map(len, lines)) <= LINE_LIMIT + 1
    assert sum(line.count(b"x") for line in lines) == size


def test_logs_of_a_program_stay_within_their_limit(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", limit_bytes=1000, keep=2)
    for number in range(500):
        log.write(b"line %04d\n" % number)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["a.log", "a.log.1", "a.log.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = b"".join(file.read_bytes() for file in reversed(files)).splitlines()
    assert kept == [b"line %04d" % number for number in range(500 - len(kept), 500)]


def test_a_line_longer_than_a_whole_log_is_kept_alone(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", limit_bytes=10, keep=1)
    log.write(b"short\n")
    log.write(b"much longer than ten\n")
    log.close()
    assert (tmp_path / "a.log").read_bytes() == b"much longer than ten\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"short\n"


def test_a_log_that_cannot_be_written_loses_lines_and_says_how_many(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = RotatingLog(folder / "a.log")
    log.write(b"lost\n")
    log.write(b"lost too\n")
    folder.mkdir()
    log.write(b"kept\n")
    log.close()
    assert (folder / "a.log").read_text() == "(2 lines could not be written)\nkept\n"


PARENT = """
import signal, subprocess, sys
from alphapulse.adapters.embedded.process import spawn
script = "trap '' TERM INT HUP; while :; do sleep 0.1; done"
child = spawn(["/bin/sh", "-c", script], on_parent_death=signal.SIGKILL)
print(child.pid, flush=True)
signal.pause()
"""


def test_children_die_with_a_killed_supervisor() -> None:
    with launched(PARENT) as parent:
        pid = int(line_of(parent))
        assert is_alive(pid)
        parent.kill()
        eventually(lambda: not is_alive(pid), 5)


def test_ctrl_c_in_the_terminal_reaches_the_supervisor_alone() -> None:
    """The children are in process groups of their own, so that we stop them in order."""
    process = spawn(["/bin/sh", "-c", "sleep 100"], on_parent_death=signal.SIGKILL)
    try:
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    finally:
        process.kill()
        process.wait()


def test_a_child_starts_with_no_signal_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        process = spawn(["/bin/sh", "-c", "sleep 100"], on_parent_death=signal.SIGKILL)
        line = Path(f"/proc/{process.pid}/cmdline")  # empty while the program takes the place of ours
        eventually(lambda: any(b"sleep" in word for word in line.read_bytes().split(b"\0")[-2:-1]))
        process.terminate()
        assert process.wait(5) == -signal.SIGTERM
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
