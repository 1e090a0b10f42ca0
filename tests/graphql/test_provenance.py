"""Proofs over the API: a client with nothing but the answers and the log's key verifies them."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.domain.ports import StoreUnavailable
from alphapulse.domain.provenance.checkpoint import Checkpoint, checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.leaf import commitment_of
from alphapulse.domain.provenance.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.tiles import tiles_of
from alphapulse.graphql.limits import Limits
from alphapulse.projections.proofs import range_nodes
from tests.graphql.client import Answer
from tests.graphql.conftest import Api, StartApi
from tests.provenance.in_database import SealedDatabase, sealed_database

CHECKPOINT = "checkpoint { origin size root position note signals { strategy count } }"
INCLUSION = f"""
query ($position: Position, $eventId: ID, $size: Long) {{
  inclusionProof(position: $position, eventId: $eventId, size: $size) {{
    leaf position leafHash hashes {CHECKPOINT}
    event {{
      position eventId stream version name recordedAt eventTime causeId correlationId actor trace idLo idHi
      commitment salt data
    }}
  }}
}}"""
CONSISTENCY = f"""
query ($from: Long!, $to: Long) {{
  consistencyProof(from: $from, to: $to) {{ oldSize hashes {CHECKPOINT} }}
}}"""


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[SealedDatabase]:
    """A log of 700 events, sealed in seven checkpoints."""
    async with sealed_database(database_url) as log:
        await log.append(700)
        await log.seal(each=100)
        yield log


async def file(api: Api, path: str) -> Answer:
    return await api.http.request("GET", f"/log/{path}")


def opened(log: SealedDatabase, told: Any) -> Checkpoint:
    """The checkpoint in an answer, whose note is of the log's key and says what the fields say."""
    checkpoint = open_checkpoint(told["note"], log.signer.key, ed25519)
    assert (checkpoint.origin, checkpoint.size) == (told["origin"], told["size"])
    assert checkpoint.root == unpacked(told["root"])
    return checkpoint


def unpacked(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# -- files ----------------------------------------------------------------------------------------


async def test_the_newest_checkpoint_is_a_file_that_is_never_kept(api: Api, log: SealedDatabase) -> None:
    answer = await file(api, "checkpoint")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert open_checkpoint(answer.body.decode(), log.signer.key, ed25519).size == 700
    await log.append(1)
    await log.seal()
    later = await file(api, "checkpoint")
    assert open_checkpoint(later.body.decode(), log.signer.key, ed25519).size == 701


async def test_from_the_tiles_alone_the_signed_root_comes_out(api: Api, log: SealedDatabase) -> None:
    checkpoint = checkpoint_of(parse_note((await file(api, "checkpoint")).body.decode()).text)
    tree = Frontier()
    for tile in tiles_of(checkpoint.size):
        answer = await file(api, tile.path)
        assert answer.status == 200, tile.path
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(answer.body) == 32 * tile.width
        if tile.level == 0:
            for at in range(0, len(answer.body), 32):
                tree.append(answer.body[at : at + 32])
    assert tree.root() == checkpoint.root


async def test_a_tile_above_the_leaves_holds_the_roots_of_tiles_below(api: Api, log: SealedDatabase) -> None:
    above = (await file(api, "tile/1/000.p/2")).body
    for number in range(2):
        tree = Frontier()
        below = (await file(api, f"tile/0/{number:03}")).body
        for at in range(0, len(below), 32):
            tree.append(below[at : at + 32])
        assert tree.root() == above[32 * number : 32 * number + 32]


async def test_a_partial_tile_stays_when_the_tree_has_outgrown_it(api: Api, log: SealedDatabase) -> None:
    before = await file(api, "tile/0/002.p/188")
    await log.append(100)
    await log.seal()
    after = await file(api, "tile/0/002.p/188")
    whole = await file(api, "tile/0/002")
    assert before.body == after.body == whole.body[: 188 * 32]
    assert len(whole.body) == 256 * 32


async def test_a_tile_that_is_not_complete_is_not_found(api: Api, log: SealedDatabase) -> None:
    for tile in ("0/002", "0/002.p/189", "0/003", "1/000", "1/000.p/3", "2/000.p/1"):
        answer = await file(api, f"tile/{tile}")
        assert (answer.status, answer.headers["cache-control"]) == (404, "no-cache")
        assert answer.body.decode() == f"tile/{tile} is not complete: the tree has 700 leaves\n"


async def test_what_is_no_tile_is_not_found(api: Api) -> None:
    for path in ("tile/0/0", "tile/0/x000/001", "tile/0/000.p/256", "tile/data", "tile/9/000"):
        answer = await file(api, path)
        assert answer.status == 404
        assert "no path of a tile" in answer.body.decode() or "no tile has level 9" in answer.body.decode()


async def test_before_the_first_seal_there_is_no_file(api: Api) -> None:
    assert (await file(api, "checkpoint")).status == 404
    assert (await file(api, "tile/0/000.p/1")).status == 404
    assert (await api.http.data(f"{{ {CHECKPOINT} }}"))["checkpoint"] is None


async def test_the_files_are_open_where_the_rest_needs_a_token(
    start_api: StartApi, log: SealedDatabase
) -> None:
    api = await start_api(token="secret")
    for path in ("checkpoint", "tile/0/000"):
        answer = await file(api, path)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert (await api.http.post(f"{{ {CHECKPOINT} }}")).status == 401


async def test_who_asks_for_too_many_files_has_to_wait(start_api: StartApi, log: SealedDatabase) -> None:
    api = await start_api(Limits(rate_cost_per_s=0.001, rate_burst_cost=50))
    answers = [await file(api, path) for path in ("checkpoint", "tile/0/000", "tile/0/001")]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_while_the_store_is_away_the_files_say_so(api: Api, monkeypatch: Any) -> None:
    async def away(**_: Any) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(api.services.seals, "sealed", away)
    assert (await file(api, "checkpoint")).status == 503


# -- queries --------------------------------------------------------------------------------------


async def test_an_event_is_proved_to_be_in_the_log(api: Api, log: SealedDatabase) -> None:
    for position in (1, 2, 100, 256, 257, 699, 700):
        (record,) = (await log.store.read(position - 1, limit=1)).records
        proof = (await api.http.data(INCLUSION, {"position": position}))["inclusionProof"]
        checkpoint = opened(log, proof["checkpoint"])
        data, salt = unpacked(proof["event"]["data"]), unpacked(proof["event"]["salt"])
        assert leaf_hash(data) == unpacked(proof["leafHash"])
        assert commitment_of(salt, record.state) == unpacked(proof["event"]["commitment"])
        assert unpacked(proof["event"]["commitment"]) in data
        assert (proof["position"], proof["event"]["version"]) == (position, record.version)
        hashes = [unpacked(each) for each in proof["hashes"]]
        verify_inclusion(proof["leaf"], checkpoint.size, leaf_hash(data), hashes, checkpoint.root)


async def test_the_fields_of_a_leaf_are_the_columns_of_its_event(api: Api, log: SealedDatabase) -> None:
    for record in (await log.store.read(0, limit=20)).records:
        told = (await api.http.data(INCLUSION, {"position": record.position}))["inclusionProof"]["event"]
        envelope = record.envelope
        assert (told["stream"], told["name"], told["actor"], told["trace"]) == (
            record.stream,
            record.name,
            envelope.actor,
            envelope.trace,
        )
        assert (told["idLo"], told["idHi"]) == (record.id_lo, record.id_hi)
        for key, value in (
            ("eventId", envelope.event_id),
            ("causeId", envelope.cause_id),
            ("correlationId", envelope.correlation_id),
        ):
            assert told[key] == (value and str(value))
        assert (told["eventTime"] is None) == (envelope.event_time is None)
        assert told["recordedAt"].startswith(f"{record.recorded_at:%Y-%m-%dT%H:%M:%S}")


async def test_an_event_is_found_by_its_id_and_under_an_older_checkpoint(
    api: Api, log: SealedDatabase
) -> None:
    (record,) = (await log.store.read(149, limit=1)).records
    asked = {"eventId": str(record.envelope.event_id), "size": "300"}
    proof = (await api.http.data(INCLUSION, asked))["inclusionProof"]
    checkpoint = opened(log, proof["checkpoint"])
    assert (proof["position"], checkpoint.size) == (record.position, 300)
    hashes = [unpacked(each) for each in proof["hashes"]]
    verify_inclusion(proof["leaf"], 300, unpacked(proof["leafHash"]), hashes, checkpoint.root)


async def test_an_older_log_is_proved_to_begin_the_newer(api: Api, log: SealedDatabase) -> None:
    for old, new in ((100, 700), (300, 400), (256, None), (700, 700), (1, None)):
        proof = (await api.http.data(CONSISTENCY, {"from": old, "to": new}))["consistencyProof"]
        checkpoint = opened(log, proof["checkpoint"])
        assert (proof["oldSize"], checkpoint.size) == (old, new or 700)
        root = Frontier(old, await range_nodes(log.seals, 0, old)).root()
        verify_consistency(
            old, checkpoint.size, root, checkpoint.root, [unpacked(each) for each in proof["hashes"]]
        )


async def test_a_checkpoint_is_the_newest_or_the_first_of_so_many_leaves(
    api: Api, log: SealedDatabase
) -> None:
    query = "query ($size: Long) { checkpoint(size: $size) { size position note origin root } }"
    for asked, size in ((None, 700), (0, 100), (1, 100), (300, 300), (301, 400), (701, None)):
        told = (await api.http.data(query, {"size": asked and str(asked)}))["checkpoint"]
        assert told is None if size is None else opened(log, told).size == size


async def test_a_checkpoint_tells_signals_and_receipts(api: Api, log: SealedDatabase) -> None:
    await log.append(3, stream="signals-breakout", name="signal.issued.v1")
    await log.append(1, stream="signals-averages", name="signal.issued.v1")
    await log.seal()
    for time, data in ((None, b"pending"), (1_700_000_000_000_000, b"settled")):
        await log.seals.keep(Receipt(size=704, anchor="clock", kind="rfc3161", time=time, data=data))
    told = await api.http.data(
        "{ checkpoint { note origin root size signals { strategy count } "
        "receipts { anchor kind size time data } } }"
    )
    checkpoint = opened(log, told["checkpoint"])
    assert told["checkpoint"]["signals"] == [
        {"strategy": "averages", "count": 1},
        {"strategy": "breakout", "count": 3},
    ]
    assert checkpoint.signals_line is not None
    assert checkpoint.signals_line.startswith("signals 2 4 ")
    receipts = told["checkpoint"]["receipts"]
    assert [each["time"] for each in receipts] == [None, "2023-11-14T22:13:20Z"]
    assert [unpacked(each["data"]) for each in receipts] == [b"pending", b"settled"]
    assert {(each["anchor"], each["kind"], each["size"]) for each in receipts} == {("clock", "rfc3161", 704)}


async def test_where_the_row_is_no_longer_what_was_sealed_the_proof_still_holds(
    api: Api, log: SealedDatabase
) -> None:
    await log.by_hand("UPDATE stored_events SET actor = 'mallory' WHERE notification_id = 5")
    await log.by_hand("DELETE FROM stored_events WHERE notification_id = 700")
    for position in (5, 700):
        proof = (await api.http.data(INCLUSION, {"position": position}))["inclusionProof"]
        checkpoint = opened(log, proof["checkpoint"])
        assert proof["event"] is None
        hashes = [unpacked(each) for each in proof["hashes"]]
        verify_inclusion(proof["leaf"], 700, unpacked(proof["leafHash"]), hashes, checkpoint.root)


async def test_an_erased_salt_is_told_as_none(api: Api, log: SealedDatabase) -> None:
    await log.by_hand(
        "UPDATE log_seals SET salts = overlay(salts PLACING decode(repeat('00', 16), 'hex') FROM 65)"
        " WHERE first_leaf = 0"
    )
    salts = []
    for position in (4, 5, 6):
        proof = (await api.http.data(INCLUSION, {"position": position}))["inclusionProof"]
        salts.append(proof["event"]["salt"])
    assert [salt is None for salt in salts] == [False, True, False]


NO_CONTINUATION: list[tuple[dict[str, Any], str]] = [
    ({"from": 0}, "a tree of 0 leaves does not begin the checkpoint of 700"),
    ({"from": 701}, "a tree of 701 leaves does not begin the checkpoint of 700"),
    ({"from": 200, "to": 100}, "a tree of 200 leaves does not begin the checkpoint of 100"),
    ({"from": 100, "to": 150}, "no checkpoint of exactly 150 leaves: the next has 200"),
    ({"from": 100, "to": 900}, "no checkpoint of 900 leaves: the newest checkpoint has 700 leaves"),
]
NOBODY = str(uuid4())
NOT_PROVED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "BAD_USER_INPUT", "position None and eventId None: give one of them"),
    ({"position": 1, "eventId": NOBODY}, "BAD_USER_INPUT", "give one of them"),
    ({"eventId": "seven"}, "BAD_USER_INPUT", "eventId 'seven' is no UUID"),
    ({"eventId": NOBODY}, "BAD_USER_INPUT", f"no event has id {NOBODY}"),
    ({"position": 0}, "BAD_USER_INPUT", "no event has position 0"),
    ({"position": 701}, "NOT_YET", "position 701 is not in the checkpoint of 700 leaves, which ends at"),
    ({"position": 101, "size": 100}, "NOT_YET", "which ends at position 100"),
    (
        {"position": 1, "size": 101},
        "BAD_USER_INPUT",
        "no checkpoint of exactly 101 leaves: the next has 200",
    ),
    (
        {"position": 1, "size": 701},
        "NOT_YET",
        "no checkpoint of 701 leaves: the newest checkpoint has 700",
    ),
]


async def test_what_cannot_be_proved_is_told_with_its_values(api: Api, log: SealedDatabase) -> None:
    for asked, code, said in NOT_PROVED:
        error = await api.http.error(INCLUSION, asked)
        assert (error["extensions"]["code"], said in error["message"]) == (code, True), error


async def test_a_position_that_no_event_has_is_told(api: Api, log: SealedDatabase) -> None:
    """Positions have gaps: a commit that was rolled back leaves one."""
    await log.by_hand("SELECT nextval('log_positions')")
    await log.append(1)
    await log.seal()
    error = await api.http.error(INCLUSION, {"position": 701})
    assert error["message"] == "no event has position 701"
    assert (await api.http.data(INCLUSION, {"position": 702}))["inclusionProof"]["leaf"] == 700


async def test_what_is_no_continuation_is_told_with_its_values(api: Api, log: SealedDatabase) -> None:
    for asked, said in NO_CONTINUATION:
        assert (await api.http.error(CONSISTENCY, asked))["message"] == said


async def test_a_size_is_a_count(api: Api) -> None:
    query = "query ($size: Long) { checkpoint(size: $size) { size } }"
    for size in (-1, 2**63, "1e3", "x", True, 1.5, "9" * 30):
        assert "is not an integer from 0 to" in (await api.http.error(query, {"size": size}))["message"]


async def test_before_anything_is_sealed_that_is_said(api: Api) -> None:
    assert (await api.http.error(INCLUSION, {"position": 1}))["message"] == "nothing is sealed yet"
    assert (await api.http.error(CONSISTENCY, {"from": 1}))["message"] == "nothing is sealed yet"
