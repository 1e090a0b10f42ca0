"""OpenTimestamps: promises, blocks and headers, read back by python-opentimestamps."""

from dataclasses import replace
from hashlib import sha256

import pytest
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, PendingAttestation
from opentimestamps.core.serialize import BytesDeserializationContext, BytesSerializationContext
from opentimestamps.core.timestamp import DetachedTimestampFile

from alphapulse.adapters.provenance.anchor_ots import MAX_PROMISES, OtsAnchor
from alphapulse.domain.provenance.anchors import AnchorFailed, is_settled
from alphapulse.domain.provenance.opentimestamps import BLOCK_HEADER, Timestamp, file_of, parse_file
from alphapulse.domain.provenance.sealing import Receipt, Sealed
from tests.adapters.anchors.calendars import BLOCK_TIME, Calendar, mined
from tests.adapters.anchors.sealed_logs import sealed_log
from tests.adapters.anchors.servers import Reply, always, serving


async def no_proof(old: int) -> list[bytes]:
    raise AssertionError("a timestamp needs no proof")


async def a_checkpoint() -> Sealed:
    return await (await sealed_log()).grow(3)


def anchor_at(url: str, **more: object) -> OtsAnchor:
    return OtsAnchor(name=f"ots:{url}", url=url, **{"least_work": 1, **more})  # type: ignore[arg-type]


def read(data: bytes) -> DetachedTimestampFile:
    """As the reference implementation reads it, which also writes it back to the same bytes."""
    found = DetachedTimestampFile.deserialize(BytesDeserializationContext(data))
    context = BytesSerializationContext()
    found.serialize(context)
    assert context.getbytes() == data
    return found


async def test_a_promise_is_kept_as_a_file_that_the_reference_implementation_reads():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        receipt = await anchor_at(url).anchor(sealed, no_proof)
        assert await anchor_at(url).settle(receipt) is None  # not in a block yet
    assert (receipt.size, receipt.kind, receipt.time) == (3, "ots", None)
    assert not is_settled(receipt)
    found = read(receipt.data)
    assert found.file_digest == sha256(sealed.note.encode()).digest()
    ((message, attestation),) = found.timestamp.all_attestations()
    assert attestation == PendingAttestation(url)
    assert message in calendar.promised


async def test_two_timestamps_of_one_checkpoint_tell_the_calendar_nothing_in_common():
    sealed, calendar = await a_checkpoint(), Calendar(uri="https://cal.example")
    async with serving(calendar) as url:
        for _ in range(2):
            await anchor_at(url).anchor(sealed, no_proof)
    asked = set(calendar.promised.values())
    assert len(asked) == 2
    assert sha256(sealed.note.encode()).digest() not in asked


async def test_once_in_a_block_it_settles_with_the_number_and_without_a_time_where_nobody_knows_headers():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        pending = await anchor_at(url).anchor(sealed, no_proof)
        calendar.mine()
        settled = await anchor_at(url).settle(pending)
        assert settled is not None
        assert await anchor_at(url).settle(settled) is None
    assert settled.time is None
    assert is_settled(settled)
    attested = {type(a): (m, a) for m, a in read(settled.data).timestamp.all_attestations()}
    assert set(attested) == {PendingAttestation, BitcoinBlockHeaderAttestation}
    message, attestation = attested[BitcoinBlockHeaderAttestation]
    assert attestation.height == 800_000
    assert message == calendar.headers[800_000].root


async def test_with_an_explorer_the_blocks_header_comes_along_and_its_time_counts():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        anchor = anchor_at(url, headers=f"{url}/api")
        pending = await anchor.anchor(sealed, no_proof)
        header = calendar.mine()
        settled = await anchor.settle(pending)
        assert settled is not None
        assert await anchor.settle(settled) is None
        without = await anchor_at(url).settle(settled)  # the header is there by now
        assert without is None
    assert settled.time == BLOCK_TIME * 1_000_000
    digest, timestamp = parse_file(settled.data)
    assert (header.root, header.data) in {(m, a.payload) for m, a in timestamp.attested(digest)}
    assert len(list(read(settled.data).timestamp.all_attestations())) == 3  # one unknown to it


async def test_a_header_that_is_not_of_the_block_or_took_no_work_gives_no_time():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        anchor = anchor_at(url, headers=f"{url}/api")
        pending = await anchor.anchor(sealed, no_proof)
        right = calendar.mine()
        with pytest.raises(AnchorFailed, match=r"took 2 hashes, where 3\.78e\+22 is the least"):
            await replace(anchor, least_work=OtsAnchor(name="", url="").least_work).settle(pending)
        calendar.headers[800_000] = mined(sha256(b"another").digest())
        with pytest.raises(AnchorFailed, match="has the root"):
            await anchor.settle(pending)
        idle = bytearray(right.data)
        while type(right)(bytes(idle)).is_worked:
            idle[76] += 1
        calendar.headers[800_000] = type(right)(bytes(idle))
        with pytest.raises(AnchorFailed, match="does not meet its target"):
            await anchor.settle(pending)
        del calendar.headers[800_000]
        with pytest.raises(AnchorFailed, match=r"block-height/800000: status 404"):
            await anchor.settle(pending)


async def test_an_explorer_that_answers_with_something_else_is_said():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url, serving(always(Reply(body=b"<html>"))) as explorer:
        calendar.uri = url
        anchor = anchor_at(url, headers=explorer)
        pending = await anchor.anchor(sealed, no_proof)
        calendar.mine()
        with pytest.raises(AnchorFailed, match="is not the hash of block 800000"):
            await anchor.settle(pending)


async def test_only_calendars_that_are_configured_or_known_are_asked_for_the_rest():
    sealed = await a_checkpoint()
    pool, calendar = Calendar(), Calendar()
    async with serving(pool) as url, serving(calendar) as elsewhere:
        pool.uri = calendar.uri = elsewhere
        pending = await anchor_at(url).anchor(sealed, no_proof)
        calendar.promised = pool.promised
        calendar.mine()
        with pytest.raises(AnchorFailed, match=rf"add \|calendar={elsewhere} for it to be asked"):
            await anchor_at(url).settle(pending)
        assert calendar.requests == []
        assert await anchor_at(url, calendars=[elsewhere]).settle(pending) is not None
    anchor = anchor_at(url)
    may_ask = anchor._may_ask
    assert may_ask("https://alice.btc.calendar.opentimestamps.org")
    for other in (
        "http://alice.btc.calendar.opentimestamps.org",
        "https://evil.example/alice.btc.calendar.opentimestamps.org",
        "https://evil.example:1.calendar.opentimestamps.org",
        "https://calendar.opentimestamps.org.evil.example",
    ):
        assert not may_ask(other)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b""),
        Reply(200, b"\x00" + bytes(8)),
        Reply(200, b"\x08"),
        Reply(200, b"\x99\x00"),
        Reply(200, b"\x08\x00" + b"\x01" * 8 + b"\x00"),  # an attestation of a kind that says nothing to us
        Reply(200, b"\x00" + bytes.fromhex("83dfe30d2ef90c8e") + b"\x07\x06ftp://"),
        Reply(200, b"\x00" + bytes.fromhex("83dfe30d2ef90c8e") + b"\x09\x08https:/?"),
        Reply(200, b"\x08" * 300),
        Reply(200, b"\xf3" * 12),
        Reply(200, b"\x08" * 10_001),
        Reply(500, b"oops"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n\x08"),
    ],
)
async def test_an_answer_that_promises_nothing_is_not_kept(reply: Reply):
    async with serving(always(reply)) as url:
        with pytest.raises(AnchorFailed, match=url):
            await anchor_at(url).anchor(await a_checkpoint(), no_proof)


async def test_an_upgrade_that_leads_to_no_block_or_is_damaged_changes_nothing():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        pending = await anchor_at(url).anchor(sealed, no_proof)
        calendar.mine()
        (commitment,) = calendar.kept
        whole = calendar.kept[commitment]
        calendar.kept[commitment] = b"\x08\x00" + bytes.fromhex("83dfe30d2ef90c8e") + b"\x0a\x09https://x"
        assert await anchor_at(url).settle(pending) is None
        for cut in range(1, len(whole)):
            calendar.kept[commitment] = whole[:cut]
            with pytest.raises(AnchorFailed):
                await anchor_at(url).settle(pending)


async def test_one_calendar_that_fails_does_not_hold_another_that_keeps_its_promise():
    sealed, calendar = await a_checkpoint(), Calendar()

    async with serving(calendar) as url:
        calendar.uri = url
        pending = await anchor_at(url).anchor(sealed, no_proof)
        digest, timestamp = parse_file(pending.data)
        ((message, promise),) = timestamp.attested(digest)
        dead = b"http://127.0.0.1:1"
        more = Timestamp(attestations=[replace(promise, payload=bytes([len(dead)]) + dead)])
        both = replace(pending, data=file_of(digest, timestamp.upgraded(digest, message, more)))
        with pytest.raises(AnchorFailed, match=r"127\.0\.0\.1:1"):
            await anchor_at(url).settle(both)
        calendar.mine()
        settled = await anchor_at(url).settle(both)
    assert settled is not None
    assert is_settled(settled)


async def test_of_many_promises_only_so_many_are_asked_about():
    sealed, calendar = await a_checkpoint(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        pending = await anchor_at(url).anchor(sealed, no_proof)
        digest, timestamp = parse_file(pending.data)
        ((message, promise),) = timestamp.attested(digest)
        for number in range(20):
            uri = f"{url}/{number}".encode()
            more = Timestamp(attestations=[replace(promise, payload=bytes([len(uri)]) + uri)])
            timestamp = timestamp.upgraded(digest, message, more)
        calendars = [f"{url}/{number}" for number in range(20)]
        many = replace(pending, data=file_of(digest, timestamp))
        assert await anchor_at(url, calendars=calendars).settle(many) is None
    assert len([request for request in calendar.requests if request.startswith("GET")]) == MAX_PROMISES == 8


async def test_a_receipt_that_is_no_timestamp_is_said():
    damaged = Receipt(size=3, anchor="ots:x", kind="ots", time=None, data=b"\x00OpenTime")
    with pytest.raises(AnchorFailed, match="3 leaves: it ends at byte 9"):
        await anchor_at("http://127.0.0.1:1").settle(damaged)


def test_our_tag_is_none_that_others_use():
    assert BLOCK_HEADER.hex() == sha256(b"alphapulse: header of a bitcoin block").hexdigest()[:16]
