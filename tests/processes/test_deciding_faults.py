"""Desks when something is wrong: a store that is away, a damaged state, code or a log that is another's."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyRetired
from alphapulse.domain.ports import StoredRecord, StoreUnavailable
from alphapulse.domain.signals.engine import CannotRun
from alphapulse.processes import learned_models
from alphapulse.processes.decide import contexts_of
from alphapulse.processes.deciding import Limits, Seat, follow
from alphapulse.processes.desk import Desk
from alphapulse.processes.desks import connector, jobs_of
from alphapulse.projections.log_source import StoreSource
from tests.decision_events import decision
from tests.domain.signals.engine_world import strategy, world
from tests.processes.learnable_logs import minutes, trained, world_of
from tests.processes.test_deciding import EVENTS, append, deciding, reached, recorded
from tests.processes.test_learned_desks import learned_strategy

QUICK = Limits(poll_s=0.05, keep_s=0.0, page_events=5, backoff_s=(0.01, 0.01))


class Flaky:
    """A store whose next reads of model streams find nobody."""

    def __init__(self, store: Any, failures: int) -> None:
        self._store, self.failures = store, failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_stream(self, stream: str, **asked: Any) -> Sequence[StoredRecord]:
        if stream.startswith("model-") and self.failures:
            self.failures -= 1
            raise StoreUnavailable("gone for a moment")
        found: Sequence[StoredRecord] = await self._store.read_stream(stream, **asked)
        return found


async def test_a_store_that_is_away_while_a_model_is_loaded_costs_no_event(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No event is to blame for it, so none may be passed over."""
    learned_models.wire()
    chosen = learned_strategy()
    async with world_of(database_url, *minutes(1, 1_500)) as made:
        await append(made.store, chosen)
        await trained(made)
        await made.writer.append(minutes(9, 200, first=1_500))
        (job,) = await jobs_of(made.store)
        flaky, seats = Flaky(made.store, 3), list[Seat]()

        def keep(seat: Seat) -> Any:
            async def write(_: Any) -> None:
                seats.append(seat)

            return write

        end = await append(made.store, StrategyRetired(name=chosen.name, version=1, reason="enough"))
        task = asyncio.create_task(
            follow(
                flaky,  # type: ignore[arg-type]
                connector(database_url),
                StoreSource(made.store),
                job,
                contexts_of,
                keep,
                limits=QUICK,
            )
        )
        await reached(database_url, end)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert flaky.failures == 0
    assert "decide waits: StoreUnavailable" in caplog.text
    assert "passed over" not in caplog.text
    assert all(not seat.skipped for seat in seats)


def test_a_desk_that_is_put_away_stays_retired() -> None:
    desk = Desk.begun(strategy(), 1, 0)
    desk.retired = 7
    assert Desk.begun(strategy(), 1, 0, kept=desk.packed()).retired == 7


async def test_a_state_that_is_damaged_is_made_again_from_the_log(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with PostgresEventStore(database_url) as store:
        await append(store, strategy())
        half = len(EVENTS) // 2
        async with deciding(database_url):
            await reached(database_url, await append(store, *EVENTS[:half]))
        async with await psycopg.AsyncConnection.connect(connection_info(database_url, role=None)) as db:
            await db.execute("UPDATE decider_states SET state = 'nonsense'")
        async with deciding(database_url):
            await reached(database_url, await append(store, *EVENTS[half:]))
        made = await recorded(store, ("decision.made.v1",))
    assert "begins anew: 8 bytes are no state of a desk" in caplog.text
    assert len({each.event.decision for each in made}) == len(made) > 0


async def test_what_was_defined_for_other_code_is_not_decided_by_this(database_url: str) -> None:
    async with PostgresEventStore(database_url) as store:
        await append(store, strategy(code_versions={"atr": 99}))
        (job,) = await jobs_of(store)
        with pytest.raises(CannotRun, match=r"world\.1: defined with code version 99 of atr, this code has"):
            await Seat.taken(store, job, contexts_of(job.strategy))


async def test_a_desk_stops_where_the_log_holds_another_decision_than_follows_from_it(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Trying for ever would find the same: a person has to look."""
    events = [event for _, _, event in world(markets=1, bars=900, edge=3e-4, size=60)]
    market = str(events[0].instrument)
    async with PostgresEventStore(database_url) as store:
        await append(store, strategy())
        (job,) = await jobs_of(store)
        venue, symbol = market.split(":")
        stream = f"decisions-{venue}-{symbol}-{job.strategy.name}.1"
        foreign = decision(1, strategy=job.strategy.name, instrument=market)
        await store.append([codec.new_event(stream, 1, foreign)])
        async with deciding(database_url):
            await append(store, *events)
            async with asyncio.timeout(30):
                while "stops: Diverged: version 1 of " not in caplog.text:
                    await asyncio.sleep(0.05)
        made = await recorded(store, ("decision.made.v1",))
    assert [each.event for each in made if isinstance(each.event, DecisionMade)] == [foreign]
    assert caplog.text.count("stops: Diverged") == 1
