"""Whether each signal was committed in time: the log, the command, the API and the verifier say the same."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.verifier.findings import VALID
from alphapulse.adapters.verifier.main import asked_of, verify_file
from alphapulse.cli import audit_track
from alphapulse.domain.provenance.anchors import cosign, witness_key
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.selection import Selection
from alphapulse.domain.provenance.timeliness import COMMITTED, LATE, NOT_ANCHORED, UNDECIDED
from alphapulse.processes.auditing import export
from alphapulse.projections.candle_view import NotYetFolded
from alphapulse.projections.timeliness_queries import TrackedSignal, TrackRecord, track_record
from tests import servers
from tests.decided_log import fold, recorded
from tests.domain.signals.engine_world import MINUTE, world
from tests.graphql.conftest import running_api
from tests.launch import ROOT
from tests.provenance.decided_world import PLAIN, Decider, end_of, put, signals_of
from tests.provenance.in_database import ORIGIN, SealedDatabase, sealed_database

SECOND = 10**9
WITNESS, OURS = (
    KeySigner(name, sha256(name.encode()).digest()) for name in ("example.com/w", "example.org/d")
)
LIVE = [event for _, _, event in world(markets=2, bars=1_200, edge=3e-4, size=5)]
QUIET = 340  # events that come at once: what is learnt from


@dataclass(frozen=True)
class Decided:
    url: str
    key: str
    anchored: dict[int, int]  # the time (ns) of the anchor of each size


async def record(url: str) -> Decided:
    """A market comes in event by event, each sealed; some are anchored soon, some late, some never."""
    anchored = {}
    async with sealed_database(url) as made:
        decider = await Decider.of(made.store, PLAIN)
        for at in range(QUIET):
            await put(made.store, LIVE[at])
        await decider.decide()
        await made.seal()
        for nth, at in enumerate(range(QUIET, len(LIVE), 2)):  # one of each market
            for event in LIVE[at : at + 2]:
                await put(made.store, event)
            await decider.decide()
            await made.seal()
            lag = (2 * SECOND, 10 * MINUTE, None)[(nth // 10) % 3]
            if lag is not None:
                anchored[made.tree.size] = end_of(LIVE[at]) + lag
                await keep(made, made.tree.size, end_of(LIVE[at]) + lag)
        key = str(made.signer.key)
    await fold(url)
    return Decided(url, key, anchored)


async def keep(made: SealedDatabase, size: int, time: int) -> None:
    """What a witness says of a checkpoint, and long before it the witness on our own disk."""
    sealed = await made.seals.sealed(size=size)
    assert sealed is not None
    text = parse_note(sealed.note).text
    for kind, signer, time_s in (("witness", WITNESS, time // SECOND), ("file", OURS, 1)):
        data = str(cosign(text, signer, time_s)).encode()
        await made.seals.keep(Receipt(size=size, anchor=kind, kind=kind, time=time_s * 1_000_000, data=data))


@pytest.fixture(scope="module")
def decided(migrated_postgres: PostgresServer) -> Iterator[Decided]:
    with servers.fresh_database(migrated_postgres) as url:
        yield asyncio.run(record(url))


async def asked(decided: Decided, as_of: int | None = None) -> TrackRecord:
    info = connection_info(decided.url, role=None)
    async with (
        PostgresEventStore(decided.url) as store,
        await AsyncConnection.connect(info, autocommit=True) as db,
    ):
        return await track_record(db, store, PLAIN.name, as_of=as_of)


async def test_every_signal_is_told_once_with_what_became_of_it(decided: Decided) -> None:
    found = await asked(decided)
    async with PostgresEventStore(decided.url) as store:
        issued = await signals_of(store)
        outcomes = {e.event.decision: e.event.outcome for e in await recorded(store, "outcome.recorded.v1")}
    assert [each.number for each in found.signals] == list(range(1, len(issued) + 1))
    assert found.counted == len(issued)
    for each, signal in zip(found.signals, issued, strict=True):
        assert (each.decision, each.position) == (signal.event.decision, signal.position)
        outcome = outcomes.get(each.decision)
        assert (each.reason, each.net_bps) == ((outcome.reason, outcome.net_bps) if outcome else (None, None))
    assert found.decided == len([each for each in found.signals if each.reason])
    assert found.wins == sum(bool(each.is_win) for each in found.signals)


async def test_each_is_judged_by_the_first_anchor_of_a_tree_that_holds_it(decided: Decided) -> None:
    found = await asked(decided)
    async with PostgresEventStore(decided.url) as store:
        outcomes = {e.event.decision: e.event.outcome for e in await recorded(store, "outcome.recorded.v1")}
    seen = set()
    for each in found.signals:
        times = [
            time for size, time in decided.anchored.items() if each.leaf is not None and size > each.leaf
        ]
        outcome = outcomes.get(each.decision)
        expected = by_hand(each, min(times, default=None), outcome)
        assert each.timeliness.state == expected, each
        if times and outcome:
            began = max(min(outcome.closed_at - MINUTE, each.horizon_end), each.time)
            assert each.timeliness.margin_ns == began - min(times)
        seen.add(expected)
    assert {COMMITTED, LATE} <= seen, found.by_state
    assert sum(found.by_state.values()) == len(found.signals)


def by_hand(each: TrackedSignal, anchored: int | None, outcome: Any) -> str:
    if outcome and outcome.position < each.position:
        return LATE
    if anchored is None:
        return NOT_ANCHORED
    if outcome is None:
        return each.timeliness.state if each.timeliness.state in (COMMITTED, UNDECIDED) else "wrong"
    began = max(min(outcome.closed_at - MINUTE, each.horizon_end), each.time)
    return COMMITTED if anchored < began else LATE


async def test_as_of_a_position_it_says_what_a_log_would_say_that_ends_there(decided: Decided) -> None:
    whole = await asked(decided)
    middle = whole.signals[len(whole.signals) // 2]
    then = await asked(decided, as_of=middle.position)
    assert then.signals[-1].number == middle.number
    assert then.signals[-1].reason is None
    assert then.counted <= middle.number
    with pytest.raises(NotYetFolded):
        await asked(decided, as_of=whole.position + 10_000)


QUERY = """query($first: Int, $after: String, $asOf: AsOf) {
  trackRecord(strategy: "world", first: $first, after: $after, asOf: $asOf) {
    position issued counted decided wins committedBefore late notAnchored undecided leastMarginNs
    nodes { number timeliness marginNs anchor anchoredAt knowableAt leaf reason netBps }
    pageInfo { hasNextPage endCursor }
  }
}"""


async def test_the_api_pages_through_the_same(decided: Decided) -> None:
    found = await asked(decided)
    async with running_api(decided.url) as api:
        nodes: list[Any] = []
        after = None
        for _ in range(100):
            page = (await api.http.data(QUERY, {"first": 7, "after": after}))["trackRecord"]
            nodes += page["nodes"]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
    assert [node["number"] for node in nodes] == [each.number for each in found.signals]
    assert page["issued"] == len(found.signals)
    assert page["committedBefore"] == found.by_state[COMMITTED]
    states = {
        "COMMITTED_BEFORE": COMMITTED,
        "LATE": LATE,
        "NOT_ANCHORED": NOT_ANCHORED,
        "UNDECIDED": UNDECIDED,
    }
    for node, each in zip(nodes, found.signals, strict=True):
        assert states[node["timeliness"]] == each.timeliness.state
        assert node["marginNs"] == each.timeliness.margin_ns


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('strategy: "ghost"', "there is no strategy"),
        ('strategy: "world", first: 0', "needs 1 to"),
        ('strategy: "world", first: 1001', "needs 1 to"),
        ('strategy: "world", after: "nonsense"', "cursor"),
        ('strategy: "world", asOf: {position: "999999999"}', "999999999"),
    ],
)
async def test_a_question_that_has_no_answer_is_refused(decided: Decided, arguments: str, told: str) -> None:
    async with running_api(decided.url) as api:
        error = await api.http.error(f"{{ trackRecord({arguments}) {{ issued }} }}")
    assert told in str(error)


def test_the_command_tells_and_draws_the_same(decided: Decided, tmp_path: Path) -> None:
    found = asyncio.run(asked(decided))
    picture = tmp_path / "margins.svg"
    told = json.loads(run(decided.url, "audit", "track-record", "world", "--json", "-o", str(picture)))
    assert told["by_state"] == dict(found.by_state)
    assert [each["number"] for each in told["signals"]] == [each.number for each in found.signals]
    assert b"<svg" in picture.read_bytes()
    summary = audit_track.summary_of(found)
    assert summary.startswith(f"world: {len(found.signals)} signals")
    assert f"{found.by_state[COMMITTED]} committed before" in summary


def test_a_command_writes_evidence_that_is_valid(decided: Decided, tmp_path: Path) -> None:
    """Out of a real database, with the log's own key; recorded as what it is."""
    key = tmp_path / "seal.key"
    key.write_text(KeySigner(ORIGIN, sha256(b"key").digest()).secret() + "\n")
    key.chmod(0o600)
    out = tmp_path / "signal.tar.gz"
    asked_for = ("evidence", "world/20", "-o", str(out), "--by", "me", "--json")
    told = json.loads(run(decided.url, *asked_for, ALPHAPULSE_DATA_DIR=str(tmp_path)))
    assert (told["number"], told["came_out"]["reason"]) == (20, "target")
    found = verify_file(str(out), asked_of(decided.key, None, []))
    assert found.verdict == VALID, found.faults
    assert found.facts["evidence"]["outcome"] == "equal"


def run(url: str, *arguments: str, **settings: str) -> str:
    environment = {**os.environ, "ALPHAPULSE_DATABASE_URL": url, "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "alphapulse", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_verifier_says_the_same_of_a_strategys_bundle(decided: Decided, tmp_path: Path) -> None:
    record = await asked(decided)
    out = tmp_path / "x.tar.gz"
    async with sealed_database(decided.url) as made:
        await export(made.store, made.seals, Selection(strategy="world"), out, key=made.signer.key)
    witnesses = [str(witness_key(signer.key)) for signer in (WITNESS, OURS)]
    told = verify_file(str(out), asked_of(decided.key, None, witnesses)).facts["track_record"]["world"]
    assert (told["signals"], told["counted"]) == (len(record.signals), record.counted)
    assert (told["decided"], told["wins"]) == (record.decided, record.wins)
    assert told["counted_as_lost"] == 0
    assert [each["leaf"] for each in told["of"]] == [each.leaf for each in record.signals]
    closed = [each for each in record.signals if each.reason]
    judged = [told["of"][each.number - 1] for each in closed]
    assert [each["timeliness"] for each in judged] == [each.timeliness.state for each in closed]
    assert [each["margin_ns"] for each in judged] == [each.timeliness.margin_ns for each in closed]


async def test_whose_witnesses_nobody_trusts_has_anchored_nothing(decided: Decided, tmp_path: Path) -> None:
    out = tmp_path / "x.tar.gz"
    async with sealed_database(decided.url) as made:
        await export(made.store, made.seals, Selection(strategy="world"), out, key=made.signer.key)
    told = verify_file(str(out), asked_of(decided.key, None, [])).facts["track_record"]["world"]
    assert told["committed_before"] == 0
    assert told["late"] > 0, "by the order of the log alone"
