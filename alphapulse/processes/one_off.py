"""One piece of heavy work in a process of its own, which ends with whoever waits for it.

A counterfactual of a year takes minutes of a core: a server that did it itself would answer nobody meanwhile.
"""

import asyncio
import multiprocessing
import signal
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple, TypeVar

from alphapulse.processes.orphans import die_with_parent

_END_S = 5.0  # that a process takes to end after it has closed its end of the pipe
_TELL_S = 0.2  # least between two signs of progress

Ask = TypeVar("Ask")
Result = TypeVar("Result")

Work = Callable[[str, Any, Callable[[Any], None]], Awaitable[Any]]  # with the database's URL


class WorkFailed(Exception):
    """The process ended without a result; the message says what it said."""


class _Done(NamedTuple):
    result: Any


class _Failed(NamedTuple):
    error: str
    is_refusal: bool


async def in_a_process(
    work: Work,
    database_url: str,
    ask: Ask,
    tell: Callable[[Any], None],
    *,
    refusals: tuple[type[Exception], ...] = (),
    refused: Callable[[str], Exception] = WorkFailed,
) -> Any:
    """What ``work`` returns, done by a new process; cancelling kills it at once. ``work`` is a module's.

    Raises:
        WorkFailed: it ended without a result.
        whatever ``refused`` makes of the message of one of ``refusals``.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(work, database_url, ask, sender, refusals), daemon=True, name="one-off"
    )
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        process.start()  # in a thread it could be under way still when we are cancelled
        sender.close()
        loop.add_reader(receiver.fileno(), ready.set)
        found = None
        while found is None:
            await ready.wait()
            ready.clear()
            found = _heard(process, receiver, tell)
    finally:
        loop.remove_reader(receiver.fileno())
        await asyncio.shield(asyncio.to_thread(_end, process, receiver))
    match found:
        case _Done(result):
            return result
        case _Failed(error, True):
            raise refused(error)
        case _Failed(error, _):
            raise WorkFailed(error)


def _end(process: SpawnProcess, receiver: "Connection[Any, Any]") -> None:
    if process.pid is not None:
        process.kill()  # if it is done it has said so; of another nothing is kept
        process.join()
        process.close()
    receiver.close()


def _heard(
    process: SpawnProcess, receiver: "Connection[Any, Any]", tell: Callable[[Any], None]
) -> _Done | _Failed | None:
    """How it ended; None: it has not."""
    try:
        while receiver.poll():
            match receiver.recv():
                case _Done() | _Failed() as end:
                    return end
                case progress:
                    tell(progress)
    except EOFError:
        process.join(_END_S)
        return _Failed(f"the process ended with code {process.exitcode}", False)
    return None


def _work(
    work: Work,
    database_url: str,
    ask: Any,
    sender: "Connection[Any, Any]",
    refusals: tuple[type[Exception], ...],
) -> None:
    """The body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    die_with_parent()
    try:
        sender.send(_Done(asyncio.run(_told_now_and_then(work, database_url, ask, sender))))
    except refusals as error:
        sender.send(_Failed(str(error), True))
    except Exception as error:
        sender.send(_Failed(f"{type(error).__name__}: {error}", False))


async def _told_now_and_then(work: Work, database_url: str, ask: Any, sender: "Connection[Any, Any]") -> Any:
    last = 0.0

    def tell(progress: Any) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _TELL_S:
            last = now
            sender.send(progress)

    return await work(database_url, ask, tell)
