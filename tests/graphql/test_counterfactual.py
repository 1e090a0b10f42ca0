"""``counterfactual`` over a real socket: a job in its own process, queued, shared, gone with its peer."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.backtest.counterfactuals import Asked
from alphapulse.domain.backtest.trials import stream_of
from alphapulse.domain.market.generate import TapeSpec
from alphapulse.domain.market.instrument import Instrument
from alphapulse.graphql.jobs import JobLimits
from alphapulse.processes.counterfactual import counterfactual
from alphapulse.processes.decide import once
from alphapulse.processes.desks import jobs_of
from alphapulse.processes.extensions import load_voters
from alphapulse.processes.generating import generate_fast
from alphapulse.processes.strategies import define
from tests import servers
from tests.graphql.client import Subscriber, eventually, subscriber
from tests.graphql.conftest import Api, running_api
from tests.journeys.test_signals import COMMAND

TRADES = 100_000
ASK = """subscription(
  $strategy: String = "first", $version: Int, $gate: Float, $without: [String!], $changes: [String!]
) {
  counterfactual(
    strategy: $strategy, version: $version, gate: $gate, withoutVoters: $without, changes: $changes
  ) {
    phase progress position bars
    result {
      strategy version change position recorded note trial
      base { label decisions equity decisionsDigest signals { signals resolved won contribution r }
             keptOut { refused missed missedR avoided avoidedR } }
      changed { decisionsDigest signals { signals contribution r } }
      onlyBase { signals } onlyChanged { signals }
      difference { value low high sample note }
      firstDivergence { decisionId base { number } changed { number } }
    }
  }
}"""


@pytest.fixture(scope="module")
def decided_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """A market with an edge on which a strategy has decided. Its tests record nothing."""
    with servers.fresh_database(migrated_postgres) as url:
        asyncio.run(_decide(url))
        yield url


async def _decide(url: str) -> None:
    import numpy as np

    load_voters()
    spec = TapeSpec(rate_per_s=0.5, step_ratio=5e-5, bursts_per_day=24, planted_edge=0.97)
    async with PostgresEventStore(url) as store:
        await define(store, COMMAND)
        market = Instrument(venue="sim", symbol="EDGE")
        await generate_fast(store, market, spec, np.random.default_rng(1), rows=TRADES)
        (job,) = await jobs_of(store)
        await once(store, job, await store.head(), lambda _: None, lambda _: None, is_dry=False)


@asynccontextmanager
async def serving(url: str, **limits: Any) -> AsyncIterator[Api]:
    async with running_api(url, job_limits=JobLimits(**limits)) as api:
        yield api


async def to_the_end(peer: Subscriber) -> list[Any]:
    """The updates of its only job: what comes before it is complete."""
    found: list[Any] = []
    async with asyncio.timeout(120):
        while True:
            message = await patiently(peer)
            if message["type"] == "complete":
                return found
            assert message["type"] == "next", message
            found.append(message["payload"])


async def patiently(peer: Subscriber) -> Any:
    while True:
        try:
            return await peer.receive()
        except TimeoutError:
            continue


def workers() -> list[Any]:
    return [child for child in multiprocessing.active_children() if child.name == "one-off"]


async def test_a_client_sees_how_far_it_is_and_gets_what_the_command_would_say(decided_url: str) -> None:
    async with serving(decided_url) as api, subscriber(api.port) as peer:
        store = api.services.store
        head = await store.head()
        await peer.subscribe(ASK, {"gate": 0.75, "changes": ["risk.fee_bps=1"]})
        updates = [payload["data"]["counterfactual"] for payload in await to_the_end(peer)]
        last = updates[-1]
        assert {each["phase"] for each in updates} <= {"WAITING", "RUNNING", "DONE"}
        ratios = [each["progress"] for each in updates]
        assert ratios == sorted(ratios)
        assert len([ratio for ratio in ratios if 0 < ratio < 1]) > 0
        assert (last["phase"], last["progress"]) == ("DONE", 1.0)
        asked = Asked(strategy="first", gate=0.75, changes=("risk.fee_bps=1",))
        wanted = (await counterfactual(store, asked, lambda _: None)).result
        told = last["result"]
        assert told["position"] == last["position"] == wanted.upto
        assert told["recorded"] is True, told["note"]
        assert told["change"] == wanted.change == "gate.threshold=0.75, risk.fee_bps=1"
        assert told["trial"] == wanted.trial
        for side, run in (("base", wanted.base), ("changed", wanted.changed)):
            assert told[side]["decisionsDigest"] == run.decisions_digest
            assert told[side]["signals"]["contribution"] == run.signals.contribution
        assert told["base"]["signals"]["signals"] > 0
        assert told["onlyBase"]["signals"] == wanted.only_base.signals
        assert told["difference"]["value"] == wanted.difference.value
        assert told["difference"]["low"] == wanted.difference.low
        assert wanted.first_divergence is not None
        assert told["firstDivergence"]["decisionId"] == wanted.first_divergence.decision
        assert await store.head() == head, "nothing is recorded"
        assert await store.version(stream_of("first")) == 0, "asking here counts no trial"


async def test_two_clients_that_ask_the_same_share_one_process_until_both_have_left(decided_url: str) -> None:
    async with serving(decided_url) as api, subscriber(api.port) as one, subscriber(api.port) as other:
        operations = [await peer.subscribe(ASK, {"gate": 0.7}) for peer in (one, other)]
        await eventually(lambda: api.services.hub.members == 2 and len(workers()) == 1)
        (worker,) = workers()
        assert api.services.counterfactuals.taken == 1
        await one.send(type="complete", id=operations[0])
        await eventually(lambda: api.services.hub.members == 1)
        assert worker.is_alive()
        await other.send(type="complete", id=operations[1])
        await eventually(lambda: not workers() and api.services.counterfactuals.taken == 0)


@pytest.mark.parametrize("how", ["complete", "line"])
async def test_a_client_that_leaves_ends_its_process(decided_url: str, how: str) -> None:
    async with serving(decided_url) as api:
        async with subscriber(api.port) as peer:
            operation = await peer.subscribe(ASK, {"gate": 0.7})
            await eventually(lambda: len(workers()) == 1)
            (worker,) = workers()
            if how == "complete":
                await peer.send(type="complete", id=operation)
            else:
                peer.socket.transport.abort()
            await eventually(lambda: worker not in multiprocessing.active_children())
            await eventually(lambda: api.services.counterfactuals.taken == 0)
        assert api.services.hub.topics == 0


async def test_others_are_answered_meanwhile_and_more_jobs_than_places_are_refused(decided_url: str) -> None:
    async with (
        serving(decided_url, running=1, waiting=1) as api,
        subscriber(api.port) as one,
        subscriber(api.port) as two,
        subscriber(api.port) as three,
    ):
        await one.subscribe(ASK, {"gate": 0.7})
        await eventually(lambda: len(workers()) == 1)
        await two.subscribe(ASK, {"gate": 0.71})
        assert (await two.next())["counterfactual"]["phase"] == "WAITING"
        operation = await three.subscribe(ASK, {"gate": 0.72})
        refused = await three.receive()
        assert (refused["type"], refused["id"]) == ("error", operation)
        assert refused["payload"][0]["extensions"]["code"] == "TOO_MANY_JOBS"
        assert (await api.http.data("{ log { position } }"))["log"]["position"] > 0
        (first,) = workers()
        await one.socket.close()
        await eventually(lambda: len(workers()) == 1 and first not in workers())
        assert api.services.counterfactuals.taken == 1


async def test_a_job_that_takes_too_long_is_ended_and_that_is_said(decided_url: str) -> None:
    async with serving(decided_url, time_s=0.2) as api, subscriber(api.port) as peer:
        await peer.subscribe(ASK, {"gate": 0.7})
        (error,) = (await to_the_end(peer))[-1]["errors"]
        assert (error["extensions"]["code"], error["message"]) == (
            "TIMEOUT",
            "it took longer than the 0.2 s that a job has",
        )
        assert workers() == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"strategy": "other", "gate": 0.5}, "there is no strategy 'other'"),
        ({"version": 3, "gate": 0.5}, "no strategy 'first' version 3: there are 1 versions"),
        ({"changes": [f"a.b={n}" for n in range(21)]}, "21 changes: at most 20 at once"),
        ({"without": ["nobody"]}, "no voter is called nobody"),
        ({"gate": 0.6}, "gate.threshold=0.6 is how it is, so nothing would change"),
        ({"changes": ["risk.fee_bps=x"]}, "'x' is not a number"),
        ({}, "nothing is asked for"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_values_and_starts_no_process(
    decided_url: str, variables: Any, said: str
) -> None:
    async with serving(decided_url) as api, subscriber(api.port) as peer:
        await peer.subscribe(ASK, variables)
        message = await peer.receive()
        assert message["type"] == "error"
        (error,) = message["payload"]
        assert said in error["message"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert workers() == []


@pytest.mark.logs_errors
async def test_a_process_that_is_killed_is_an_error_of_ours_that_tells_nothing(decided_url: str) -> None:
    async with serving(decided_url) as api, subscriber(api.port) as peer:
        await peer.subscribe(ASK, {"gate": 0.7})
        await eventually(lambda: len(workers()) == 1)
        workers()[0].kill()
        (error,) = (await to_the_end(peer))[-1]["errors"]
        assert (error["message"], error["extensions"]["code"]) == ("internal error", "INTERNAL")
        assert api.services.counterfactuals.taken == 0
