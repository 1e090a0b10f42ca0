"""An event loop of many processes in one thread, with a time of its own and an order that a seed decides.

Within one process callbacks run in the order in which they were scheduled, as asyncio promises; which of
the processes goes on next is drawn. When nobody can go on, time jumps to the next timer. There is no real
I/O, and work for threads is done at once, as a step of its own.
"""

import asyncio
import heapq
import random
from asyncio import AbstractEventLoop, Handle, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

MOST_AT_ONCE = 4  # callbacks of one process before another one may go on
TICK_S = 1e-9  # a clock goes on, whatever is due
STARTS_AT = 1_000.0  # seconds; code that takes 0 for "never" must not be right by chance


class Process:
    """What one process of the operating system is to the loop. ``dead`` ones do nothing that counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Handle] = deque()
        self.tasks: dict[Task[Any], None] = {}  # in the order of their birth
        self.frozen = False
        self.dead = False

    def spawn(self, loop: "SimulatedLoop", work: Coroutine[Any, Any, Any]) -> Task[Any]:
        context = copy_context()
        context.run(CURRENT.set, self)
        return loop.create_task(work, context=context)

    def kill(self) -> None:
        """End it as a signal does: every task stops where it waits, and what it still tries is refused."""
        self.dead, self.frozen = True, False
        for task in list(self.tasks):
            task.cancel()

    def keep(self, task: Task[Any]) -> None:
        if len(self.tasks) > 64:
            self.tasks = {task: None for task in self.tasks if not task.done()}
        self.tasks[task] = None


CURRENT: ContextVar[Process] = ContextVar("process")


class Stuck(Exception):
    """Nobody can go on, and no timer will change that."""


class SimulatedLoop(asyncio.BaseEventLoop):
    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._now = STARTS_AT
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._timer_number = 0
        self._processes: list[Process] = []
        self.world = self.process("world")
        self.steps = 0
        self.errors: list[str] = []
        self.set_exception_handler(self._note)

    def process(self, name: str) -> Process:
        process = Process(name)
        self._processes.append(process)
        return process

    def forget(self, process: Process) -> None:
        """Of a dead one whose tasks have ended."""
        self._processes.remove(process)

    # -- what asyncio asks of a loop ------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, self, context)
        self._process_of(handle).ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        timer = TimerHandle(when, callback, args, self, context)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(self, coro: Any, **options: Any) -> Task[Any]:
        task: Task[Any] = super().create_task(coro, **options)
        context = options.get("context")
        process = context.get(CURRENT) if context is not None else CURRENT.get(None)
        (process or self.world).keep(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._rng.expovariate(1_000), work)
        return future

    def _run_once(self) -> None:
        able = [p for p in self._processes if p.ready and not p.frozen]
        if not able:
            self._jump()
            return
        process = able[int(self._rng.random() * len(able))] if len(able) > 1 else able[0]
        ready = process.ready
        for _ in range(1 + int(self._rng.random() * MOST_AT_ONCE)):
            if not ready or process.frozen or self._stopping:  # type: ignore[attr-defined]
                break
            handle = ready.popleft()
            if not handle.cancelled():
                self.steps += 1
                handle._run()

    def _jump(self) -> None:
        """To the next timer, and all that are due with it."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"at {self._now:.3f} s")
        self._now = max(self._now + TICK_S, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._process_of(timer).ready.append(timer)

    def _process_of(self, handle: Handle) -> Process:
        return handle._context.get(CURRENT, self.world)  # type: ignore[attr-defined,no-any-return]

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _note(self, _: AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, asyncio.CancelledError):
            self.errors.append(f"{context.get('message')}: {error!r}")
