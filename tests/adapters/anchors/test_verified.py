"""The verifier's own reading of anchors, with the standard library alone, against what real ones gave."""

import asyncio
import base64
import os
import random
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

from alphapulse.adapters.provenance.anchor_file import FileWitness, open_witness
from alphapulse.adapters.provenance.anchor_ots import OtsAnchor
from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.verifier import anchors as verifier
from alphapulse.adapters.verifier.anchoring import CHECKED, NOT_CHECKED, PENDING, Anchor, AnchorRefused
from alphapulse.adapters.verifier.anchors import check_anchor
from alphapulse.adapters.verifier.der import BadDer, der_of
from alphapulse.adapters.verifier.note import key_of
from alphapulse.adapters.verifier.promises import PromiseRefused, promises_of
from alphapulse.adapters.verifier.timestamps import StampRefused, stamp_of
from alphapulse.domain.provenance.anchors import cosign, witness_key
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.sealing import Receipt, Sealed
from tests.adapters.anchors.authorities import Authority, make_authority
from tests.adapters.anchors.calendars import BLOCK_TIME, Calendar
from tests.adapters.anchors.sealed_logs import sealed_log
from tests.adapters.anchors.servers import serving

BLOCK_S = BLOCK_TIME * 1_000_000


async def no_proof(old: int) -> list[bytes]:
    return []


def in_bundle(receipt: Receipt, sealed: Sealed, **changes: object) -> Anchor:
    found = Anchor(
        "anchors/0001.json",
        receipt.anchor,
        receipt.kind,
        receipt.size,
        receipt.time,
        receipt.data,
        sealed.note,
    )
    return found._replace(**changes)  # type: ignore[arg-type]


async def test_the_cosignature_of_a_key_that_is_given_is_checked(tmp_path: Path):
    log = await sealed_log()
    sealed = await log.grow(3)
    witness = FileWitness(name="file:x", folder=tmp_path, log=log.signer.key, now=lambda: 1_700_000_000.0)
    anchor = in_bundle(await witness.anchor(sealed, no_proof), sealed)
    key = key_of(str(witness_key(open_witness(tmp_path).key)))
    found = check_anchor(anchor, [key])
    assert (found.state, found.time, found.witness) == (CHECKED, 1_700_000_000_000_000, key)
    assert found.text == (
        f"2023-11-14T22:13:20Z, cosigned by {key.name}, by the clock of the machine that the log is on"
    )
    assert "by its own clock" in check_anchor(anchor._replace(kind="witness"), [key]).text
    unknown = check_anchor(anchor, [])
    assert (unknown.state, unknown.time, unknown.witness) == (NOT_CHECKED, found.time, None)
    assert key.name in unknown.text


async def test_a_cosignature_of_something_else_is_refused():
    log, signer = await sealed_log(), KeySigner("w", os.urandom(32))
    sealed = await log.grow(3)
    text, key = parse_note(sealed.note).text, key_of(str(witness_key(signer.key)))
    good = Receipt(size=3, anchor="w", kind="witness", time=None, data=str(cosign(text, signer, 9)).encode())
    assert check_anchor(in_bundle(good, sealed), [key]).time == 9_000_000
    bad = [
        (str(cosign(text + "more\n", signer, 9)).encode(), "not over this"),
        (str(cosign(text, signer, 0)).encode(), "no date"),
        (str(cosign(text, signer, 2**63)).encode(), "no date"),
        (str(cosign(text, signer, 9))[:50].encode() + b"\n", "base64"),
        (b"\xff", "no text"),
        (b"", "no signed note"),
    ]
    for data, message in bad:
        with pytest.raises(AnchorRefused, match=message):
            check_anchor(in_bundle(replace(good, data=data), sealed), [key])
    short = str(cosign(text, signer, 9).__class__("w", signer.key.id, b"x" * 64)).encode()
    with pytest.raises(AnchorRefused, match="no cosignature"):
        check_anchor(in_bundle(replace(good, data=short), sealed), [key])


async def test_openssl_checks_a_cosignature_as_the_docs_say(tmp_path: Path):
    log, signer = await sealed_log(), KeySigner("w", os.urandom(32))
    text = parse_note((await log.grow(3)).note).text
    value = base64.b64decode(str(cosign(text, signer, 9)).split(" ")[2])
    public = Ed25519PublicKey.from_public_bytes(signer.key.public)
    (tmp_path / "KEY").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "SIGNATURE").write_bytes(value[-64:])
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-rawin",
        "-pubin",
        "-inkey",
        "KEY",
        "-in",
        "MESSAGE",
        "-sigfile",
        "SIGNATURE",
    ]
    for message, is_good in ((text, True), (text + "x", False)):
        (tmp_path / "MESSAGE").write_text(f"cosignature/v1\ntime 9\n{message}")
        done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, timeout=30)
        assert (done.returncode == 0) is is_good


async def test_a_bundle_that_says_another_time_than_its_anchor_is_refused():
    log, signer = await sealed_log(), KeySigner("w", os.urandom(32))
    sealed = await log.grow(3)
    data = str(cosign(parse_note(sealed.note).text, signer, 9)).encode()
    receipt = Receipt(size=3, anchor="w", kind="witness", time=8_000_000, data=data)
    with pytest.raises(AnchorRefused, match="says 1970-01-01T00:00:08Z, and the anchor 1970-01-01T00:00:09Z"):
        check_anchor(in_bundle(receipt, sealed), [])


def stamped(authority: Authority, message: bytes, algorithm: HashAlgorithm = HashAlgorithm.SHA256) -> bytes:
    query = TimestampRequestBuilder(data=message, hash_algorithm=algorithm).build()
    return authority.answer(query.as_bytes())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tsa") / "ec")


@pytest.mark.parametrize(("key", "digits"), [("rsa", 3), ("p384", 6)])
def test_signatures_by_rsa_and_other_curves_are_checked_too(tmp_path: Path, key: str, digits: int):
    authority = make_authority(tmp_path / "tsa", key, digits)
    for algorithm in (HashAlgorithm.SHA256, HashAlgorithm.SHA512):
        response = stamped(authority, b"note", algorithm)
        found = stamp_of(response, b"note")
        assert found.unchecked == ""
        assert found.certificate == certificate_of(authority)


def certificate_of(authority: Authority) -> bytes:
    pem = (authority.folder / "tsa.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


async def test_a_timestamp_is_checked_as_far_as_the_certificate_that_is_trusted(authority: Authority):
    sealed = await (await sealed_log()).grow(3)
    response = stamped(authority, sealed.note.encode())
    receipt = Receipt(size=3, anchor="tsa", kind="rfc3161", time=None, data=response)
    found = check_anchor(in_bundle(receipt, sealed), [])
    digest = sha256(certificate_of(authority)).hexdigest()
    assert (found.state, found.witness) == (NOT_CHECKED, None)
    assert digest in found.text
    assert "openssl ts -verify -in RESPONSE -data NOTE -CAfile ROOTS" in found.text
    assert found.time is not None
    assert abs(found.time / 1e6 - datetime.now(UTC).timestamp()) < 60
    trusted = check_anchor(in_bundle(receipt, sealed), [], [digest])
    assert (trusted.state, trusted.time) == (CHECKED, found.time)
    with pytest.raises(AnchorRefused, match="a timestamp of"):
        check_anchor(in_bundle(receipt, sealed, note=sealed.note + "x"), [])


def test_the_command_that_is_shown_works(authority: Authority, tmp_path: Path):
    (tmp_path / "RESPONSE").write_bytes(stamped(authority, b"note"))
    (tmp_path / "NOTE").write_bytes(b"note")
    command = [
        "openssl",
        "ts",
        "-verify",
        "-in",
        "RESPONSE",
        "-data",
        "NOTE",
        "-CAfile",
        str(authority.roots),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert "Verification: OK" in done.stdout


def test_no_byte_of_a_timestamp_can_change_what_it_says(authority: Authority):
    response, drawn = stamped(authority, b"note"), random.Random(5)
    honest = stamp_of(response, b"note")
    certificate = certificate_of(authority)
    for at in drawn.sample(range(len(response)), 250):
        damaged = bytearray(response)
        damaged[at] ^= 1 << drawn.randrange(8)
        try:
            found = stamp_of(bytes(damaged), b"note")
        except StampRefused:
            continue
        assert found == honest or (found.certificate is None and found.unchecked), f"byte {at}"
    assert honest.certificate == certificate


def test_a_timestamp_cut_anywhere_is_refused(authority: Authority):
    response = stamped(authority, b"note")
    for end in range(len(response)):
        with pytest.raises(StampRefused):
            stamp_of(response[:end], b"note")
    with pytest.raises(StampRefused, match="behind its end"):
        stamp_of(response + b"\0", b"note")
    with pytest.raises(StampRefused, match="1000000 are the most"):
        stamp_of(response + bytes(1_000_000), b"note")


def test_times_are_read_as_rfc3161_writes_them_and_in_no_other_way(authority: Authority):
    def told(text: bytes) -> int:
        return der_of(b"\x18" + bytes([len(text)]) + text).time_us()

    assert told(b"20260102030405Z") == 1_767_323_045_000_000
    assert told(b"20260102030405.5Z") == 1_767_323_045_500_000
    assert told(b"20260102030405.123456789Z") == 1_767_323_045_123_456
    for wrong in (
        b"20260102030405", b"20260102030405.Z", b"20260102030405.50Z", b"20260102030405+0000",
        b"202601020304Z", b"260102030405Z", b"20261302030405Z", b"20260102030460Z", b"20260102030405,5Z", b"",
    ):  # fmt: skip
        with pytest.raises(BadDer):
            told(wrong)
    response = stamped(authority, b"note")
    ours = stamp_of(response, b"note").time
    theirs = decode_timestamp_response(authority.folder and _sorted(response)).tst_info.gen_time
    assert ours == int(theirs.timestamp()) * 1_000_000


def _sorted(response: bytes) -> bytes:
    from alphapulse.adapters.provenance.anchor_rfc3161 import _in_order

    return _in_order(response)


def test_der_is_read_strictly():
    for wrong in (
        b"", b"\x30", b"\x30\x80\x00\x00", b"\x30\x81\x05abcde", b"\x30\x82\x00\x05abcde", b"\x30\x02\x02",
        b"\x1f\x01\x00", b"\x30\x85\x01\x00\x00\x00\x00",
    ):  # fmt: skip
        with pytest.raises(BadDer):
            der_of(wrong).children()
    assert der_of(bytes.fromhex("06092a864886f70d010702")).oid() == "1.2.840.113549.1.7.2"
    assert der_of(b"\x02\x02\xff\x00").number() == -256
    assert [child.number() for child in der_of(b"\x30\x06\x02\x01\x05\x02\x01\x07").children()] == [5, 7]


async def test_a_promise_is_pending_and_a_block_is_named_with_what_is_to_be_looked_up(
    monkeypatch: pytest.MonkeyPatch,
):
    sealed, calendar = await (await sealed_log()).grow(3), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        plain = OtsAnchor(name="ots", url=url, least_work=1)
        full = replace(plain, headers=f"{url}/api")
        promise = await plain.anchor(sealed, no_proof)
        found = check_anchor(in_bundle(promise, sealed), [])
        assert (found.state, found.time) == (PENDING, None)
        assert url in found.text
        header = calendar.mine()
        numbered, headed = await plain.settle(promise), await full.settle(promise)
    assert numbered is not None
    assert headed is not None
    found = check_anchor(in_bundle(numbered, sealed), [])
    assert (found.state, found.time) == (NOT_CHECKED, None)
    assert f"block 800000, if its Merkle root is {header.root[::-1].hex()}" in found.text
    with pytest.raises(AnchorRefused, match="did not take the work"):
        check_anchor(in_bundle(headed, sealed), [])
    monkeypatch.setattr(verifier, "promises_of", partial(promises_of, least_work=1))
    found = check_anchor(in_bundle(headed, sealed), [])
    assert (found.state, found.time) == (NOT_CHECKED, BLOCK_S)
    assert f"if that is {header.hash}: bitcoin-cli getblockhash 800000" in found.text
    trusted = check_anchor(in_bundle(headed, sealed), [], [header.hash])
    assert (trusted.state, trusted.time) == (CHECKED, BLOCK_S)
    with pytest.raises(AnchorRefused, match="a timestamp of"):
        check_anchor(in_bundle(headed, sealed, note=sealed.note + "x"), [])


async def test_an_ots_file_with_any_byte_changed_or_cut_attests_nothing_else_of_the_note():
    sealed, calendar = await (await sealed_log()).grow(3), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        anchor = OtsAnchor(name="ots", url=url, least_work=1, headers=f"{url}/api")
        promise = await anchor.anchor(sealed, no_proof)
        calendar.mine()
        settled = await anchor.settle(promise)
    assert settled is not None
    note = sealed.note.encode()
    honest = promises_of(settled.data, note, 1)
    assert [(block.height, block.header is not None) for block in honest.blocks] == [(800_000, True)]
    header = honest.blocks[0].header
    assert header is not None
    of_header = range(settled.data.index(header), settled.data.index(header) + len(header))
    for at in range(len(settled.data)):
        damaged = bytearray(settled.data)
        damaged[at] ^= 1
        try:
            found = promises_of(bytes(damaged), note, 1)
        except PromiseRefused:
            continue
        # Another number, calendar or tag may be said, and a header of as little work as this one is soon
        # made; but none of another root.
        with_header = [block for block in found.blocks if block.header]
        assert all(block.root == honest.blocks[0].root for block in with_header), f"byte {at}"
        assert at in of_header or all(block.header == header for block in with_header), f"byte {at}"
    for end in range(len(settled.data)):
        with pytest.raises(PromiseRefused):
            promises_of(settled.data[:end], note, 1)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (b"\x08" * 300, "more than 256 operations"),
        (b"\xf3" * 12, "a message of 8192 bytes"),
        (b"\x67", "cannot be done here"),
        (b"\x00" + bytes(8) + b"\xff\xff\xff\xff\xff", "more than 5 bytes"),
        (b"\x00" + bytes(8) + b"\x00" + b"x", "1 bytes behind its end"),
        (bytes(100_001), "no file"),
    ],
)
def test_what_would_cost_too_much_to_follow_is_refused(tail: bytes, message: str):
    head = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94\x01\x08"
    with pytest.raises(PromiseRefused, match=message):
        promises_of(head + sha256(b"note").digest() + tail, b"note")


async def test_an_anchor_of_a_kind_that_is_not_known_is_told_and_no_fault():
    sealed = await (await sealed_log()).grow(3)
    receipt = Receipt(size=3, anchor="x", kind="moon", time=5, data=b"")
    found = check_anchor(in_bundle(receipt, sealed), [])
    assert (found.state, found.time) == (NOT_CHECKED, None)
