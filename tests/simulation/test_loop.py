"""The loop: time jumps, processes take turns by the seed, a killed one does nothing more."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.simulation.loop import STARTS_AT, SimulatedLoop, Stuck
from tests.simulation.results import Sitting, add, seen, sittings
from tests.simulation.shrinking import shrunk


def in_loop(work: Coroutine[Any, Any, Any], seed: int = 0) -> Any:
    loop = SimulatedLoop(random.Random(seed))
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def test_time_jumps_to_the_next_timer() -> None:
    async def wait() -> float:
        await asyncio.sleep(3_600)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(86_400):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time() - STARTS_AT

    assert in_loop(wait()) == pytest.approx(90_000, abs=1e-3)


def test_whoever_waits_for_nothing_is_told_so() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    loop = SimulatedLoop(random.Random(0))
    task = loop.create_task(wait())
    with pytest.raises(Stuck):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


def turns(seed: int) -> list[str]:
    """Who went on, of two processes with two tasks each that do nothing else."""
    said: list[str] = []

    async def talk(name: str) -> None:
        for _ in range(20):
            said.append(name)
            await asyncio.sleep(0)

    loop = SimulatedLoop(random.Random(seed))
    one, two = loop.process("one"), loop.process("two")
    tasks = [p.spawn(loop, talk(f"{p.name} {n}")) for p in (one, two) for n in (1, 2)]
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
    return said


def test_processes_take_turns_as_the_seed_says_and_tasks_of_one_in_their_order() -> None:
    assert turns(1) == turns(1) != turns(2)
    for name in ("one", "two"):
        own = [said for said in turns(1) if said.startswith(name)]
        assert own == [f"{name} 1", f"{name} 2"] * 20
    runs = "".join(said[0] for said in turns(1))
    assert 10 < runs.count("ot") + runs.count("to") < 60


def test_a_frozen_process_stands_still_and_goes_on_later_with_what_came_meanwhile() -> None:
    async def main(loop: SimulatedLoop) -> list[float]:
        woken: list[float] = []

        async def tick() -> None:
            while True:
                await asyncio.sleep(1)
                woken.append(round(loop.time() - STARTS_AT, 3))

        process = loop.process("p")
        process.spawn(loop, tick())
        await asyncio.sleep(2.5)
        process.frozen = True
        await asyncio.sleep(5)
        process.frozen = False
        await asyncio.sleep(1.2)
        process.kill()
        await asyncio.sleep(5)
        return woken

    loop = SimulatedLoop(random.Random(0))
    assert loop.run_until_complete(main(loop)) == [1, 2, 7.5, 8.5]
    loop.close()


def test_work_for_threads_is_a_step_of_the_loop() -> None:
    async def work() -> tuple[int, str]:
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(int, "no")
        return await asyncio.to_thread(max, 1, 2), "done"

    assert in_loop(work()) == (2, "done")


def test_a_list_of_faults_is_shrunk_to_what_it_needs() -> None:
    needed = {3, 11}
    tried: list[list[int]] = []

    def breaks(kept: Any) -> bool:
        tried.append(list(kept))
        return needed <= set(kept)

    assert shrunk(list(range(16)), breaks) == [3, 11]  # type: ignore[arg-type,comparison-overlap]
    assert len(tried) < 60
    assert shrunk([], lambda kept: True) == []


def test_sittings_add_up_and_seeds_that_ran_twice_count_once(tmp_path: Any) -> None:
    path = tmp_path / "results.jsonl"
    assert seen(sittings(path)) == 0
    for first, schedules in ((0, 100), (50, 100), (500, 10), (20, 10)):
        add(Sitting(first=first, schedules=schedules, violations=[], cpu_s=2.0, commit="c"), path)
    assert seen(sittings(path)) == 160
    assert sittings(path)[0].per_second == 50
