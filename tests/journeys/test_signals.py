"""From a generated market with an edge to a subscriber of signals, and back from a signal to its reasons."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from alphapulse.domain.decision.strategy import Gate, Learning
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.market.generate import TapeSpec
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.signals.signal import SignalClosed, SignalIssued
from alphapulse.processes.decide import contexts_of, recorder
from alphapulse.processes.deciding import Limits
from alphapulse.processes.desks import run_decide
from alphapulse.processes.extensions import load_voters
from alphapulse.processes.generating import generate_fast
from alphapulse.processes.strategies import define
from alphapulse.projections.decision_queries import folded_to
from tests.decided_log import recorded
from tests.graphql.client import Subscriber, eventually, subscriber
from tests.graphql.conftest import Api, projecting, running_api

MARKET = Instrument(venue="sim", symbol="EDGE")
TRADES = 100_000
MESSAGES = 4  # of one line
SPEC = TapeSpec(rate_per_s=0.5, step_ratio=5e-5, bursts_per_day=24, planted_edge=0.97)
# Learns from little, so that half a week of a market is a story.
COMMAND = replace(
    default_strategy("first", timeframes=(5,)),
    gate=Gate(threshold=0.6, margin=0.0),
    learning=Learning(least=30, least_effective=10.0),
    min_consensus=0.15,
)

LIVE = """subscription($after: Position) {
  signals(strategy: "first", after: $after) { previous position issued { number } changed { kind number } }
}"""
STORY = """query($number: Int!) { signal(strategy: "first", number: $number) {
  number confidence state netBps closedAt
  decision { id verdict claim { confidence calibration } votes { voter reasons } gate { needed margin } }
  outcome { decisionId isWin netBps reason }
} }"""
JUDGED = """{
  outcomes(strategy: "first", signals: true, first: 1000) { nodes { number isWin netBps } }
  calibration(strategy: "first") { claims wins winRate fitted { number } }
  log { position deciders { strategy version part position } }
}"""


@asynccontextmanager
async def deciding(url: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    limits = Limits(poll_s=0.1, keep_s=0.0, idle_keep_s=0.0)
    role = asyncio.create_task(run_decide(url, contexts_of, recorder, stop, limits))
    try:
        yield
    finally:
        stop.set()
        await role


class Listener:
    """A subscriber whose line breaks after every few messages, and who resumes where it was."""

    def __init__(self, port: int) -> None:
        self.port, self.position, self.lines = port, 0, 0
        self.issued: list[int] = []
        self.changed: list[tuple[str, int]] = []

    async def listen(self) -> None:
        while True:
            async with subscriber(self.port) as peer:
                await peer.subscribe(LIVE, {"after": self.position})
                self.lines += 1
                for _ in range(MESSAGES):
                    self._take((await _patiently(peer))["signals"])

    def _take(self, update: Any) -> None:
        assert update["previous"] == self.position, "something lies between two messages"
        self.position = update["position"]
        self.issued += [signal["number"] for signal in update["issued"]]
        self.changed += [(change["kind"], change["number"]) for change in update["changed"]]


async def _patiently(peer: Subscriber) -> Any:
    """The next message, however long nothing happens."""
    while True:
        with suppress(TimeoutError):
            return await peer.next()


async def test_from_a_market_to_a_subscriber_and_back_to_the_reasons(database_url: str) -> None:
    async with running_api(database_url) as api, projecting(database_url), deciding(database_url):
        store = api.services.store
        load_voters()
        await define(store, COMMAND)
        listener = Listener(api.port)
        listening = asyncio.create_task(listener.listen())
        await generate_fast(store, MARKET, SPEC, np.random.default_rng(1), rows=TRADES)
        end = await store.head()

        async def is_decided() -> bool:
            found = (await api.http.data(JUDGED))["log"]["deciders"]
            return any(each["position"] >= end for each in found)

        await eventually(is_decided)
        log = await recorded(store, "signal.issued.v1", "signal.exit_recommended.v1", "signal.closed.v1")
        issued = [each.event for each in log if isinstance(each.event, SignalIssued)]
        closes = {each.event.number: each.event for each in log if isinstance(each.event, SignalClosed)}
        assert len(issued) > 10
        assert len(closes) > 5

        await eventually(lambda: listening.done() or listener.position >= log[-1].position)
        assert not listening.done(), listening.exception()
        listening.cancel()
        await asyncio.wait([listening])
        assert sorted(listener.issued) == [signal.number for signal in issued], "every signal exactly once"
        assert {number for kind, number in listener.changed if kind == "closed"} == set(closes)
        assert len(listener.changed) == len(log) - len(issued)
        assert listener.lines > 1, "it never had to resume"

        await eventually(lambda: folded(api, log[-1].position))
        for signal in issued[:3]:
            check_story(await story_of(api, signal.number), signal, closes.get(signal.number))
        check_judgement(await api.http.data(JUDGED), closes)


async def folded(api: Api, position: int) -> bool:
    async with api.services.reads.connection() as db:
        return min([await folded_to(db, name) for name in ("decisions", "signals")]) >= position


async def story_of(api: Api, number: int) -> Any:
    return (await api.http.data(STORY, {"number": number}))["signal"]


def check_story(story: Any, signal: SignalIssued, close: SignalClosed | None) -> None:
    """One query tells why it was given, what was claimed, and what became of it."""
    made = story["decision"]
    assert (made["id"], made["verdict"]) == (signal.decision, "ISSUED")
    assert made["claim"] == {"confidence": signal.confidence, "calibration": signal.calibration}
    assert story["confidence"] == signal.confidence
    assert made["gate"]["margin"] == pytest.approx(signal.confidence - made["gate"]["needed"])
    assert {vote["voter"] for vote in made["votes"]} == {seat.name for seat in COMMAND.voters}
    assert any(vote["reasons"] for vote in made["votes"])
    if close is None:
        assert (story["state"], story["outcome"]) == ("OPEN", None)
    else:
        assert story["state"] == "CLOSED"
        assert story["netBps"] == story["outcome"]["netBps"] == close.net_bps
        assert (story["outcome"]["reason"], story["outcome"]["decisionId"]) == (close.reason, close.decision)


def check_judgement(found: Any, closes: Mapping[int, SignalClosed]) -> None:
    """Outcomes, closed signals and the calibration count the same."""
    outcomes, judged = found["outcomes"]["nodes"], found["calibration"]
    assert {each["number"]: each["netBps"] for each in outcomes} == {
        number: close.net_bps for number, close in closes.items()
    }
    assert judged["claims"] == len(outcomes)
    assert judged["wins"] == sum(each["isWin"] for each in outcomes)
    assert judged["winRate"] == pytest.approx(judged["wins"] / judged["claims"])
    numbers = [fit["number"] for fit in judged["fitted"]]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers
