"""The audit trail over GraphQL: pages, the way from a signal to its trades, and what is new, live."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.graphql.audit_trail import MAX_ENTRIES, MAX_NAMES
from alphapulse.projections.decision_queries import folded_to
from tests.decision_events import decision, issued, like_sample, outcome, stream_of
from tests.graphql.client import eventually, subscriber
from tests.graphql.conftest import Api, Market
from tests.projections.market_log import trades

TRAIL = """
query($actor: String, $names: [String!], $cause: ID, $first: Int, $after: String, $asOf: AsOf) {
  auditTrail(actor: $actor, names: $names, causeId: $cause, first: $first, after: $after, asOf: $asOf) {
    position nodes { position name actor strategy instrument number said causeId recordedAt }
    pageInfo { hasNextPage endCursor }
  }
}
"""
CHAIN = """
query($id: ID!, $asOf: AsOf) {
  auditChain(eventId: $id, asOf: $asOf) {
    entry { name number said }
    causes { eventId name said }
    effects { name }
    inputs { position events { name position } }
  }
}
"""
LIVE = """
subscription($strategy: String, $after: Position) {
  auditTrail(strategy: $strategy, after: $after) { previous position entries { position name said } }
}
"""


class Told:
    """A strategy, a batch of trades, the decision made of it, its signal and its end."""

    def __init__(self) -> None:
        self.ids: dict[str, UUID] = {}
        self.position = 0

    async def tell(self, market: Market) -> "Told":
        store = market.api.services.store
        await self._append(store, like_sample("strategy.defined.v1", name="trial", version=1), "ann")
        batch = trades([(1, 101, 1)])
        await self._append(store, batch, "importer")
        first = self.position
        made = decision(1, instrument=str(batch.instrument), first_position=first, position=first)
        await self._append(store, made, "decider", "market.trades_observed.v1")
        await self._append(store, issued(made, 1), "decider", "decision.made.v1")
        await self._append(store, outcome(made, number=1), "decider", "decision.made.v1")
        await folded(market, self.position)
        return self

    async def _append(self, store: Any, event: Any, actor: str, cause: str | None = None) -> None:
        is_batch = hasattr(event, "columns")
        stream = event.instrument.stream("trades") if is_batch else stream_of(event)
        new = codec.new_event(
            stream,
            await store.version(stream) + 1,
            event,
            event_id=uuid4(),
            cause_id=self.ids[cause] if cause else None,
            correlation_id=self.ids["market.trades_observed.v1"] if cause else None,
            actor=actor,
        )
        (record,) = await store.append([new])
        self.ids[record.name], self.position = record.envelope.event_id, record.position


async def folded(market: Market, position: int) -> None:
    async def is_there() -> bool:
        async with market.api.services.reads.connection() as db:
            return await folded_to(db, "audit_trail") >= position

    await eventually(is_there)


@pytest.fixture
async def told(market: Market) -> Told:
    return await Told().tell(market)


async def test_pages_tell_who_did_what(market: Market, told: Told) -> None:
    seen, after = [], None
    while True:
        page = (await market.api.http.data(TRAIL, {"first": 2, "after": after}))["auditTrail"]
        seen += page["nodes"]
        assert page["position"] == told.position
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert [(node["name"], node["actor"]) for node in seen] == [
        ("outcome.recorded.v1", "decider"),
        ("signal.issued.v1", "decider"),
        ("decision.made.v1", "decider"),
        ("strategy.defined.v1", "ann"),
    ]
    assert {node["number"] for node in seen} == {1, None}
    assert seen[1]["said"].startswith("signal 1: ")
    by = (await market.api.http.data(TRAIL, {"actor": "ann"}))["auditTrail"]["nodes"]
    assert [node["name"] for node in by] == ["strategy.defined.v1"]
    of = (await market.api.http.data(TRAIL, {"cause": str(told.ids["decision.made.v1"])}))["auditTrail"][
        "nodes"
    ]
    assert [node["name"] for node in of] == ["outcome.recorded.v1", "signal.issued.v1"]
    cut = (await market.api.http.data(TRAIL, {"asOf": {"position": told.position - 2}}))["auditTrail"]
    assert cut["position"] == told.position - 2
    assert cut["nodes"] == seen[2:]


async def test_a_signal_leads_back_to_its_trades(market: Market, told: Told) -> None:
    signal = (await market.api.http.data(CHAIN, {"id": str(told.ids["signal.issued.v1"])}))["auditChain"]
    assert signal["entry"]["number"] == 1
    assert [cause["name"] for cause in signal["causes"]] == ["decision.made.v1", "market.trades_observed.v1"]
    assert signal["causes"][1]["said"] == "1 trades of test:BTC_USD"
    assert signal["inputs"] is None
    made = (await market.api.http.data(CHAIN, {"id": signal["causes"][0]["eventId"]}))["auditChain"]
    assert [event["name"] for event in made["inputs"]["events"]] == ["market.trades_observed.v1"]
    assert [effect["name"] for effect in made["effects"]] == ["signal.issued.v1", "outcome.recorded.v1"]


async def test_what_was_not_yet_recorded_has_no_chain(market: Market, told: Told) -> None:
    event = str(told.ids["outcome.recorded.v1"])
    asked = await market.api.http.data(CHAIN, {"id": event, "asOf": {"position": told.position - 1}})
    assert asked["auditChain"] is None
    assert (await market.api.http.data(CHAIN, {"id": str(uuid4())}))["auditChain"] is None


async def test_new_entries_are_told_live_and_after_a_position(market: Market, told: Told) -> None:
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": 0, "strategy": "trial"})
        update = (await peer.next())["auditTrail"]
        assert [entry["name"] for entry in update["entries"]] == [
            "strategy.defined.v1",
            "decision.made.v1",
            "signal.issued.v1",
            "outcome.recorded.v1",
        ]
        retired = like_sample("strategy.retired.v1", name="trial", version=1, reason="enough")
        store = market.api.services.store
        await store.append([codec.new_event("strategy-trial", 2, retired)])
        update = (await peer.next())["auditTrail"]
        assert [entry["said"] for entry in update["entries"]] == ["version 1 of trial retired: enough"]


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"first": MAX_ENTRIES + 1}, f"first {MAX_ENTRIES + 1}"),
        ({"names": ["a.b.v1"] * (MAX_NAMES + 1)}, f"{MAX_NAMES + 1} names"),
        ({"cause": "nobody"}, "'nobody'"),
        ({"after": "x"}, "cursor 'x'"),
        ({"asOf": {"position": 10**9}}, "1000000000"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_its_value(
    market: Market, asked: dict[str, Any], word: str
) -> None:
    error = await market.api.http.error(TRAIL, asked)
    assert word in error["message"]


async def test_an_unknown_strategy_cannot_be_watched(api: Api) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe(LIVE, {"strategy": "nobody"})
        assert "there is no strategy 'nobody'" in str(await peer.receive())
