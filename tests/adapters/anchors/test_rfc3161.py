"""RFC 3161: what an authority (openssl) signs is kept, and nothing that is not of our request."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from alphapulse.adapters.provenance.anchor_rfc3161 import Rfc3161Anchor
from alphapulse.domain.provenance.anchors import AnchorFailed
from alphapulse.domain.provenance.sealing import Sealed
from tests.adapters.anchors.authorities import Authority, make_authority, openssl_tells, openssl_verifies
from tests.adapters.anchors.sealed_logs import sealed_log
from tests.adapters.anchors.servers import Answering, Reply, Request, always, serving


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tsa") / "ec")


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tsa") / "another")


async def no_proof(old: int) -> list[bytes]:
    raise AssertionError("a timestamp needs no proof")


async def a_checkpoint() -> Sealed:
    return await (await sealed_log()).grow(3)


def anchor_at(url: str, roots: Path | None = None, **more: float) -> Rfc3161Anchor:
    return Rfc3161Anchor(name=f"rfc3161:{url}", url=f"{url}/tsr", roots=roots, **more)


@pytest.mark.parametrize(("key", "digits"), [("ec", 0), ("rsa", 3), ("p384", 6)])
async def test_the_whole_answer_is_kept_with_the_authoritys_time(tmp_path: Path, key: str, digits: int):
    authority = make_authority(tmp_path / "tsa", key, digits)
    sealed = await a_checkpoint()
    before = datetime.now(UTC)
    async with serving(authority) as url:
        receipt = await anchor_at(url, authority.roots).anchor(sealed, no_proof)
        assert await anchor_at(url).settle(receipt) is None
    assert (receipt.size, receipt.kind, receipt.anchor) == (3, "rfc3161", f"rfc3161:{url}")
    assert receipt.time is not None
    found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=receipt.time)
    assert before - timedelta(seconds=1) <= found <= datetime.now(UTC)
    assert found.isoformat(" ")[:19] in (told := openssl_tells(tmp_path, receipt.data))
    assert f"{found:%H:%M:%S.%f}".rstrip("0").rstrip(".") in told
    assert openssl_verifies(tmp_path, receipt.data, sealed.note.encode(), authority.roots)
    assert not openssl_verifies(tmp_path, receipt.data, b"another", authority.roots)


async def test_without_roots_imprint_and_nonce_are_checked_and_the_answer_kept(authority: Authority):
    async with serving(authority) as url:
        assert (await anchor_at(url).anchor(await a_checkpoint(), no_proof)).time


async def test_an_authority_under_another_root_is_refused(authority: Authority, another: Authority):
    """Its answer brings its own root, which nobody here trusts."""
    async with serving(authority) as url:
        with pytest.raises(AnchorFailed, match="certificate"):
            await anchor_at(url, another.roots).anchor(await a_checkpoint(), no_proof)


async def test_a_file_without_roots_is_said(authority: Authority, tmp_path: Path):
    (tmp_path / "empty.pem").write_text("")
    async with serving(authority) as url:
        for path in (tmp_path / "empty.pem", tmp_path / "none.pem"):
            with pytest.raises(AnchorFailed, match=url):
                await anchor_at(url, path).anchor(await a_checkpoint(), no_proof)


def asking_instead(authority: Authority, data: bytes, algorithm: HashAlgorithm) -> Answering:
    async def answering(request: Request) -> Reply:
        query = TimestampRequestBuilder(data=data, hash_algorithm=algorithm).build().as_bytes()
        return Reply(200, authority.answer(query), "application/timestamp-reply")

    return answering


async def test_an_answer_to_another_question_is_refused(authority: Authority):
    sealed = await a_checkpoint()
    cases = [
        (sealed.note.encode(), HashAlgorithm.SHA256, "an answer to nonce"),
        (b"something else", HashAlgorithm.SHA256, "a timestamp of [0-9a-f]{64}, not of"),
        (sealed.note.encode(), HashAlgorithm.SHA512, "not SHA-256"),
    ]
    for data, algorithm, message in cases:
        async with serving(asking_instead(authority, data, algorithm)) as url:
            with pytest.raises(AnchorFailed, match=message):
                await anchor_at(url).anchor(sealed, no_proof)


async def test_a_refusal_is_said_with_its_words(authority: Authority):
    async def refusing(request: Request) -> Reply:
        sha1 = bytes.fromhex("30290201013021300906052b0e03021a05000414") + bytes(20) + b"\x01\x01\x00"
        body = authority.answer(bytes([0x30, len(sha1) - 2]) + sha1[2:])
        return Reply(200, body, "application/timestamp-reply")

    async with serving(refusing) as url:
        with pytest.raises(AnchorFailed, match="refused with status 2"):
            await anchor_at(url).anchor(await a_checkpoint(), no_proof)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>", "text/html"),
        Reply(503, b"", "application/timestamp-reply"),
        Reply(200, b"", "application/timestamp-reply"),
        Reply(200, b"\x30\x80", "application/timestamp-reply"),
        Reply(200, b"0" * 200_000, "application/timestamp-reply"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n0"),
    ],
)
async def test_what_is_no_timestamp_is_not_kept(reply: Reply):
    async with serving(always(reply)) as url:
        with pytest.raises(AnchorFailed, match=url):
            await anchor_at(url).anchor(await a_checkpoint(), no_proof)


async def test_a_slow_authority_is_left_at_the_timeout():
    async with serving(always(Reply(raw=b"", hang=True))) as url:
        with pytest.raises(AnchorFailed, match=r"within 0\.2 s"):
            await anchor_at(url, timeout_s=0.2).anchor(await a_checkpoint(), no_proof)


async def test_an_answer_damaged_anywhere_is_refused_under_roots_or_says_the_same(authority: Authority):
    """Bytes may change that nobody signs; what the answer says may not."""
    sealed, drawn, kept = await a_checkpoint(), random.Random(3), 0
    honest: list[bytes] = []

    async def damaging(request: Request) -> Reply:
        honest[:] = [authority.answer(request.body)]
        data = bytearray(honest[0])
        data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        return Reply(200, bytes(data), "application/timestamp-reply")

    async with serving(damaging) as url:
        for _ in range(30):
            try:
                receipt = await anchor_at(url, authority.roots).anchor(sealed, no_proof)
            except AnchorFailed:
                continue
            kept += 1
            assert openssl_verifies(authority.folder, receipt.data, sealed.note.encode(), authority.roots)
    assert kept < 20


async def test_a_time_in_another_encoding_is_no_timestamp(authority: Authority):
    """RFC 3161 wants GeneralizedTime in UTC, YYYYMMDDhhmmss[.s...]Z."""
    sealed = await a_checkpoint()
    year = datetime.now(UTC).strftime("%Y%m%d").encode()
    for wrong in (b"20991332", b"2026ab01", b"00000101", b"19990101"):

        async def answering(request: Request, wrong: bytes = wrong) -> Reply:
            data = authority.answer(request.body)
            at = data.index(b"\x18\x0f" + year) + 2
            return Reply(200, data[:at] + wrong + data[at + 8 :], "application/timestamp-reply")

        async with serving(answering) as url:
            with pytest.raises(AnchorFailed, match=url):
                await anchor_at(url).anchor(sealed, no_proof)
