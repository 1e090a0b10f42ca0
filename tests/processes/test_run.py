"""Roles in one process: together until one ends, and within bounds when they are to stop."""

import asyncio
from pathlib import Path

import pytest

from alphapulse.processes import run
from alphapulse.processes.run import RoleEnded, run_roles
from alphapulse.settings import Settings

SETTINGS = Settings(data_dir=Path("/nonexistent"))


async def obedient(settings: Settings, stop: asyncio.Event) -> None:
    await stop.wait()


async def deaf(settings: Settings, stop: asyncio.Event) -> None:
    await asyncio.sleep(1000)


async def failing(settings: Settings, stop: asyncio.Event) -> None:
    raise ValueError("no more")


async def idle(settings: Settings, stop: asyncio.Event) -> None:
    return


async def test_roles_end_when_they_are_asked_to() -> None:
    stop = asyncio.Event()
    stop.set()
    await run_roles({"a": obedient, "b": obedient}, SETTINGS, stop)


async def test_a_role_that_fails_stops_the_others_and_its_error_is_passed_on() -> None:
    stop = asyncio.Event()
    with pytest.raises(ExceptionGroup) as failed:
        await run_roles({"a": obedient, "b": failing}, SETTINGS, stop)
    assert [str(error) for error in failed.value.exceptions] == ["no more"]
    assert stop.is_set()


async def test_a_role_that_ends_unasked_is_a_failure() -> None:
    with pytest.raises(RoleEnded, match="of a, b one ended by itself"):
        await run_roles({"a": obedient, "b": idle}, SETTINGS, asyncio.Event())


async def test_a_role_that_does_not_stop_is_cancelled_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STOP_S", 0.1)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, stop.set)
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup):
            await run_roles({"deaf": deaf, "b": failing}, SETTINGS, stop)
