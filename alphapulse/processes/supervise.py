"""Keeps a tree of programs alive: starts them in order, restarts what dies, stops all in reverse order.

Each program is a direct child that the kernel ends when this process dies, however it dies. Their output goes
to rotating files, one a program; lines that report errors are shown as well.
"""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from alphapulse.adapters.embedded.process import ServerError, Steps, describe_exit
from alphapulse.processes.logs import RotatingLog

WATCH_S = 1.0  # SIGCHLD wakes the watcher at once; this is for a signal that went missing
READY_POLL_S = 0.05
NEWS_S = 10.0  # how often we say that a start is taking long
STOP_POLL_S = 0.01
FIRST_DELAY_S, LAST_DELAY_S = 0.1, 10.0
STEADY_S = 60.0  # a program that ran this long has no failures to its name any more
RESTART_LIMIT = 12  # restarts in a row, over about a minute, before we give up
LINE_LIMIT = 64 * 1024  # a longer line is cut

ALARMING = re.compile(rb"\b(ERROR|CRITICAL|FATAL|PANIC)\b|\[(ERR|FTL)\]|^Traceback ")


class Say(Protocol):
    def __call__(self, name: str, message: str, *, problem: bool = False) -> None:
        """Tell the person who watches that ``message`` happened to program ``name``."""


class GaveUp(Exception):
    """A program kept dying; the tree was stopped."""


class Interrupted(Exception):
    """Somebody asked to stop while we were still starting."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One child: how it is launched, when it is ready, how it is stopped.

    ``launch`` is handed the descriptor for stdout and stderr. ``is_ready`` may block for some seconds.
    ``close`` runs after the last stop.
    """

    name: str
    launch: Callable[[int], subprocess.Popen[bytes]]
    is_ready: Callable[[], bool]
    stop_steps: Steps
    ready_timeout_s: float = 60.0
    close: Callable[[], None] = lambda: None


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    output: asyncio.Task[None]
    started: float
    failures: int = 0
    restart: asyncio.Task[None] | None = None
    recent: list[str] = field(default_factory=list)


class Supervisor:
    """Runs programs until told to stop. ``log_for`` opens the log of a program, ``say`` talks to people."""

    def __init__(self, *, log_for: Callable[[str], RotatingLog], say: Say, show_all: bool = False) -> None:
        self._log_for = log_for
        self._say = say
        self._show_all = show_all
        self._children: dict[str, _Child] = {}
        self._logs: dict[str, RotatingLog] = {}
        self._gave_up: GaveUp | None = None
        self._stopping = False
        self.stop_wanted = asyncio.Event()
        self.hurry = asyncio.Event()  # set by a second signal: skip the polite part of stopping
        self.child_ended = asyncio.Event()  # set it on SIGCHLD

    def pids(self) -> dict[str, int]:
        return {name: child.process.pid for name, child in self._children.items()}

    async def start(self, program: Program) -> None:
        """Launch ``program`` and return when it is ready.

        Raises:
            ServerError: it ended, or was not ready in time; the message has its last lines.
            Interrupted: ``stop_wanted`` was set meanwhile.
        """
        child = self._launch(program)
        self._children[program.name] = child
        await self._until_ready(child)

    async def watch(self) -> None:
        """Restart what dies, until ``stop_wanted``.

        Raises:
            GaveUp: a program died more than ``RESTART_LIMIT`` times in a row.
        """
        while not self.stop_wanted.is_set():
            for child in self._children.values():
                if child.restart is None and child.process.poll() is not None:
                    child.restart = asyncio.create_task(self._restart(child))
            if self._gave_up:
                raise self._gave_up
            self.child_ended.clear()
            await _first_of(self.child_ended, self.stop_wanted, timeout_s=WATCH_S)

    async def stop(self) -> None:
        """Stop all programs, the last started first, each within the seconds of its steps."""
        self._stopping = True
        self.stop_wanted.set()
        for child in reversed(self._children.values()):
            if child.restart:
                child.restart.cancel()
            await self._stop_one(child)
            with suppress(TimeoutError):  # a grandchild may hold the pipe open
                await asyncio.wait_for(child.output, 2)
            child.program.close()
        self._children.clear()
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    # -- one child --------------------------------------------------------------------------------

    def _launch(self, program: Program) -> _Child:
        reading, writing = os.pipe()
        try:
            process = program.launch(writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        recent: list[str] = []
        output = asyncio.create_task(self._pump(program.name, reading, recent))
        return _Child(program, process, output, time.monotonic(), recent=recent)

    async def _until_ready(self, child: _Child) -> None:
        deadline = time.monotonic() + child.program.ready_timeout_s
        next_news = time.monotonic() + NEWS_S
        while not await asyncio.to_thread(child.program.is_ready):
            if self.stop_wanted.is_set():
                raise Interrupted
            if (code := child.process.poll()) is not None:
                await asyncio.wait([child.output], timeout=1)
                raise ServerError(
                    _with_lines(f"{child.program.name} ended with {describe_exit(code)}", child)
                )
            if time.monotonic() > deadline:
                waited = f"{child.program.name} was not ready after {child.program.ready_timeout_s:.0f} s"
                raise ServerError(_with_lines(waited, child))
            if time.monotonic() > next_news:
                next_news += NEWS_S
                self._say(child.program.name, f"starts since {time.monotonic() - child.started:.0f} s")
            await _first_of(self.stop_wanted, timeout_s=READY_POLL_S)

    async def _restart(self, child: _Child) -> None:
        """Launch ``child`` again after a pause that grows with its failures."""
        name = child.program.name
        while not self._stopping:
            code = child.process.poll()
            how = describe_exit(code) if code is not None else "no readiness"
            steady = time.monotonic() - child.started > STEADY_S
            child.failures = 1 if steady else child.failures + 1
            if child.failures > RESTART_LIMIT:
                why = f"{name} ended with {how} and died {RESTART_LIMIT} times in a row before; giving up"
                self._gave_up = GaveUp(_with_lines(why, child))
                self.child_ended.set()
                return
            delay_s = min(FIRST_DELAY_S * 2 ** (child.failures - 1), LAST_DELAY_S)
            self._say(name, f"ended with {how}; restart {child.failures} in {delay_s:.1f} s", problem=True)
            await asyncio.sleep(delay_s)
            try:
                fresh = self._launch(child.program)
                child.process, child.output, child.started = fresh.process, fresh.output, fresh.started
                child.recent = fresh.recent
                await self._until_ready(child)
            except Interrupted:
                return
            except (ServerError, OSError) as error:
                self._say(name, str(error), problem=True)
                await self._stop_one(child)
            else:
                self._say(
                    name, f"is back as pid {child.process.pid} after {time.monotonic() - child.started:.1f} s"
                )
                break
        child.restart = None

    async def _stop_one(self, child: _Child) -> None:
        for number, patience_s in child.program.stop_steps:
            if child.process.poll() is not None:
                return
            child.process.send_signal(number)
            deadline = time.monotonic() + patience_s
            while child.process.poll() is None and time.monotonic() < deadline and not self.hurry.is_set():
                await _first_of(self.hurry, timeout_s=STOP_POLL_S)
        if child.process.poll() is None:
            self._say(child.program.name, "does not stop and is killed", problem=True)
            child.process.kill()
            await asyncio.to_thread(child.process.wait)

    # -- output -----------------------------------------------------------------------------------

    async def _pump(self, name: str, descriptor: int, recent: list[str]) -> None:
        """Move a child's output to its log, line by line, until every writer has closed the pipe."""
        log = self._logs.get(name) or self._logs.setdefault(name, self._log_for(name))
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while line := await _line(reader):
                log.write(line)
                recent.append(line.decode(errors="replace").rstrip())
                del recent[:-15]
                if self._show_all or ALARMING.search(line):
                    self._say(name, recent[-1], problem=bool(ALARMING.search(line)))
        finally:
            transport.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line with its end, cut at LINE_LIMIT; empty at the end of the stream."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await reader.readexactly(min(max(error.consumed, 1), LINE_LIMIT)) + b"\n"


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Return when one of ``events`` is set, at the latest after ``timeout_s``."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _with_lines(sentence: str, child: _Child) -> str:
    return "\n".join([sentence, *(f"  {line}" for line in child.recent)])
