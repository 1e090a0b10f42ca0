"""Runs roles in this process until they are told to stop, or one of them fails."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping

from alphapulse.processes.wiring import Role
from alphapulse.settings import Settings

log = logging.getLogger(__name__)
STOP_S = 20.0  # what roles get to finish what they are at


async def run_roles(roles: Mapping[str, Role], settings: Settings, stop: asyncio.Event) -> None:
    """Run ``roles`` together. When one ends, for whatever reason, the others are stopped too.

    Raises:
        RoleEnded: a role returned although nobody asked it to.
        ExceptionGroup: roles failed; it holds their errors.
    """
    tasks = {asyncio.create_task(_run(name, role, settings, stop)): name for name, role in roles.items()}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    asked = stop.is_set()
    stop.set()
    _, slow = await asyncio.wait(tasks, timeout=STOP_S)
    for task in slow:
        log.warning("role %s did not stop in %.0f s and is cancelled", tasks[task], STOP_S)
        task.cancel()
    if slow:
        await asyncio.wait(slow, timeout=STOP_S)
    errors = [error for task in tasks if task.done() and not task.cancelled() and (error := task.exception())]
    failures = [error for error in errors if isinstance(error, Exception)]
    if failures:
        raise ExceptionGroup("roles failed", failures)
    if not asked:
        raise RoleEnded(f"of {', '.join(roles)} one ended by itself")


class RoleEnded(Exception):
    """A role returned although nobody asked it to."""


async def _run(name: str, role: Role, settings: Settings, stop: asyncio.Event) -> None:
    log.info("role %s starts", name)
    try:
        await role(settings, stop)
    except Exception as error:
        log.error(
            "role %s failed: %s", name, settings.redact(f"{type(error).__name__}: {error}"), exc_info=True
        )
        raise
    log.info("role %s has stopped", name)


def run_until_signalled(roles: Mapping[str, Role], settings: Settings) -> None:
    """``run_roles`` with SIGINT and SIGTERM as the wish to stop; a second one does not wait any longer."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_signalled(roles, settings))


async def _until_signalled(roles: Mapping[str, Role], settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None

    def on_signal() -> None:
        if stop.is_set():
            main.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    await run_roles(roles, settings, stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
