"""Jobs as feeds: places, turns, sharing, the end, and what becomes of work that nobody watches any more."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from graphql import GraphQLError

from alphapulse.graphql.fanout import Hub, Watch
from alphapulse.graphql.jobs import JobFeed, JobLimits, Jobs, JobState, TooManyJobs, WorkRefused


class Bench:
    """Work that goes on as it is told: ``tell`` of an ask's progress, ``finish`` it, ``fail`` it."""

    def __init__(self, **limits: Any) -> None:
        self.jobs: Jobs[str, float, str] = Jobs(self._work, JobLimits(**limits))
        self.hub = Hub(queue_messages=8)
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self._tells: dict[str, Callable[[float], None]] = {}
        self._ends: dict[str, asyncio.Future[str]] = {}

    async def _work(self, ask: str, tell: Callable[[float], None]) -> str:
        self.begun.append(ask)
        self._tells[ask] = tell
        self._ends[ask] = asyncio.get_running_loop().create_future()
        try:
            return await self._ends[ask]
        except asyncio.CancelledError:
            self.cancelled.append(ask)
            raise

    def tell(self, ask: str, ratio: float) -> None:
        self._tells[ask](ratio)

    def finish(self, ask: str) -> None:
        self._ends[ask].set_result(f"result of {ask}")

    def fail(self, ask: str, error: Exception) -> None:
        self._ends[ask].set_exception(error)

    def watch(self, ask: str) -> Watch:
        return Watch(("job", ask), lambda: JobFeed(self.jobs, ask, lambda state: state), None)

    async def follow(self, ask: str) -> list[Any]:
        """All that a watcher gets, to the end."""
        found = []
        async with (
            self.hub.member(self.watch(ask), object(), lambda payload: payload) as member,
            aclosing(member.messages()) as messages,
        ):
            async for message in messages:
                found.append(message)
        return found


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_watches_gets_progress_and_the_result_and_then_the_end() -> None:
    bench = Bench()
    following = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    for ratio in (0.25, 0.5):
        bench.tell("a", ratio)
        await settle()
    bench.finish("a")
    found = await following
    assert found[0].result is None
    assert found[-1] == JobState(running=True, progress=0.5, result="result of a")
    assert {state.progress for state in found if state.progress} == {0.25, 0.5}
    assert (bench.jobs.taken, bench.hub.topics) == (0, 0)


async def test_progress_that_nobody_took_yet_gives_way_to_the_latest() -> None:
    bench = Bench()
    following = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    for n in range(1_000):
        bench.tell("a", n / 1_000)
    bench.finish("a")
    found = await following
    assert len(found) < 10
    assert found[-1].result == "result of a"


async def test_two_that_ask_for_the_same_share_one_job_and_both_get_its_result() -> None:
    bench = Bench()
    first = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    bench.tell("a", 0.5)
    await settle()
    second = asyncio.create_task(bench.follow("a"))
    await settle()
    bench.finish("a")
    one, other = await first, await second
    assert one[-1] == other[-1]
    assert other[0].progress == 0.5, "it sees at once how far the job is"
    assert bench.begun == ["a"]


async def test_a_job_goes_on_while_one_watches_and_is_cancelled_when_the_last_has_gone() -> None:
    bench = Bench()
    first, second = (asyncio.create_task(bench.follow("a")) for _ in range(2))
    await until(lambda: bench.begun == ["a"])
    await settle()
    first.cancel()
    await settle()
    assert bench.cancelled == []
    second.cancel()
    await until(lambda: bench.cancelled == ["a"])
    assert bench.jobs.taken == 0
    await asyncio.gather(first, second, return_exceptions=True)


async def test_one_runs_the_others_wait_their_turn_and_more_are_refused() -> None:
    bench = Bench(running=1, waiting=1)
    first = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    second = asyncio.create_task(bench.follow("b"))
    await settle()
    assert bench.begun == ["a"]
    with pytest.raises(TooManyJobs, match="2 jobs are under way or waiting") as refused:
        await bench.follow("c")
    assert (refused.value.extensions or {})["code"] == "TOO_MANY_JOBS"
    bench.finish("a")
    await first
    await until(lambda: bench.begun == ["a", "b"])
    bench.finish("b")
    assert (await second)[-1].result == "result of b"
    third = asyncio.create_task(bench.follow("c"))
    await until(lambda: bench.begun[-1] == "c")
    bench.finish("c")
    await third
    assert bench.jobs.taken == 0


async def test_one_that_leaves_while_it_waits_gives_its_place_back_and_is_never_begun() -> None:
    bench = Bench(running=1, waiting=1)
    first = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    second = asyncio.create_task(bench.follow("b"))
    await settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await settle()
    assert bench.jobs.taken == 1
    bench.finish("a")
    await first
    assert bench.begun == ["a"]


async def test_work_that_takes_too_long_is_cancelled_and_that_is_said() -> None:
    bench = Bench(time_s=0.05)
    (*_, last) = await bench.follow("a")
    assert isinstance(last, GraphQLError)
    assert (last.message, (last.extensions or {})["code"]) == (
        "it took longer than the 0.05 s that a job has",
        "TIMEOUT",
    )
    assert (bench.cancelled, bench.jobs.taken) == (["a"], 0)


async def test_the_time_of_a_job_is_counted_from_when_it_runs() -> None:
    bench = Bench(time_s=0.3)
    first = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    second = asyncio.create_task(bench.follow("b"))
    await asyncio.sleep(0.2)
    bench.finish("a")
    await first
    await until(lambda: bench.begun == ["a", "b"])
    await asyncio.sleep(0.2)
    bench.finish("b")
    assert (await second)[-1].result == "result of b"


async def test_a_refusal_is_told_and_an_error_of_ours_is_told_by_an_id_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    refused = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    bench.fail("a", WorkRefused("there is no such voter"))
    last = (await refused)[-1]
    assert (last.message, last.extensions["code"]) == ("there is no such voter", "BAD_USER_INPUT")


@pytest.mark.logs_errors
async def test_an_error_of_ours_is_logged_and_told_by_its_id(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    failed = asyncio.create_task(bench.follow("a"))
    await until(lambda: bench.begun == ["a"])
    bench.fail("a", RuntimeError("password=hunter2"))
    last = (await failed)[-1]
    assert (last.message, last.extensions["code"]) == ("internal error", "INTERNAL")
    assert last.extensions["id"] in caplog.text
    assert "hunter2" not in str(last)
    assert bench.jobs.taken == 0


async def test_however_jobs_end_all_places_come_back() -> None:
    bench = Bench(running=2, waiting=3)
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(bench.follow(str(n))) for n in range(5)]
        stack.callback(lambda: [task.cancel() for task in tasks])
        await until(lambda: len(bench.begun) == 2)
        tasks[0].cancel()
        bench.fail("1", WorkRefused("no"))
        await until(lambda: len(bench.begun) == 4)
        tasks[4].cancel()
        bench.finish("2")
        bench.finish("3")
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (bench.jobs.taken, bench.hub.topics, bench.hub.members) == (0, 0, 0)
