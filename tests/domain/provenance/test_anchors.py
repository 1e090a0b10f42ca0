"""Formats of anchors: against the specifications' own examples and a second implementation."""

import base64
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentimestamps.core.notary import (
    BitcoinBlockHeaderAttestation,
    PendingAttestation,
    UnknownAttestation,
)
from opentimestamps.core.op import OpAppend, OpHexlify, OpPrepend, OpSHA1, OpSHA256
from opentimestamps.core.serialize import BytesDeserializationContext, BytesSerializationContext
from opentimestamps.core.timestamp import DetachedTimestampFile
from opentimestamps.core.timestamp import Timestamp as TheirTimestamp

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.domain.provenance.anchor_names import MAX_ANCHORS, BadAnchor, parse_anchors
from alphapulse.domain.provenance.anchors import (
    add_checkpoint,
    blocks,
    check_cosignature,
    cosign,
    cosigned,
    is_settled,
    witness_key,
)
from alphapulse.domain.provenance.bitcoin import BadHeader, BlockHeader, block_header
from alphapulse.domain.provenance.notes import COSIGNATURE, BadNote, NoteKey, Signature
from alphapulse.domain.provenance.opentimestamps import (
    BITCOIN,
    MAX_DEPTH,
    MAX_MESSAGE,
    SHA256,
    Attestation,
    BadTimestamp,
    Op,
    Timestamp,
    append,
    chain,
    file_of,
    parse_file,
    parse_timestamp,
)
from alphapulse.domain.provenance.sealing import Receipt

TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
# The first block of Bitcoin, as everybody who runs a node can print it.
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e"
    "67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)


def test_the_signed_message_is_the_specifications():
    """C2SP tlog-cosignature, "Ed25519 signed message"."""
    signed = list[bytes]()

    class Recording(KeySigner):
        def sign(self, message: bytes) -> bytes:
            signed.append(message)
            return super().sign(message)

    cosign(TEXT, Recording("witness.example/w1", os.urandom(32)), 1679315147)
    assert signed == [b"cosignature/v1\ntime 1679315147\n" + TEXT.encode()]


def test_the_specifications_example_has_the_shape_that_is_read():
    line = (
        "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3"
        "b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    )
    value = base64.b64decode(line.split(" ")[2])
    signature = Signature("witness.example.com/w1", value[:4], value[4:])
    assert int.from_bytes(signature.value[:8], "big") == 1679315147  # the time that its text signs
    with pytest.raises(BadNote, match="not over this checkpoint"):  # whose key nobody knows
        check_cosignature(TEXT, signature, NoteKey("w", COSIGNATURE, bytes(32)), ed25519)


def test_the_key_of_a_witness_has_the_id_of_a_cosignature():
    signer = KeySigner("w", bytes(32))
    key = witness_key(signer.key)
    assert (key.kind, key.public) == (COSIGNATURE, signer.key.public)
    assert key.id != signer.key.id
    assert NoteKey.parse(str(key)) == key


@given(st.integers(1, 253_402_300_799))
def test_a_cosignature_is_of_its_text_and_its_time(time_s: int):
    signer = KeySigner("w", bytes(32))
    lines = str(cosign(TEXT, signer, time_s))
    assert cosigned(lines, TEXT, witness_key(signer.key), ed25519) == (lines, time_s)
    with pytest.raises(BadNote, match="is not over this checkpoint"):
        cosigned(lines, TEXT + "more\n", witness_key(signer.key), ed25519)


def test_of_several_times_the_earliest_counts_and_one_that_is_wrong_spoils_all():
    signer = KeySigner("w", bytes(32))
    key = witness_key(signer.key)
    both = str(cosign(TEXT, signer, 9)) + str(cosign(TEXT, signer, 7))
    assert cosigned(both, TEXT, key, ed25519)[1] == 7
    with pytest.raises(BadNote, match="is not over"):
        cosigned(both + str(cosign("other\n", signer, 8)), TEXT, key, ed25519)


def test_the_request_is_the_specifications():
    note = TEXT + "\n\u2014 example.com/behind-the-sofa Az3grlgt\n"
    proof = [bytes([7]) * 32, bytes([8]) * 32]
    assert add_checkpoint(20852014, proof, note).decode() == (
        "old 20852014\n"
        "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n"
        "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n"
        "\n" + note
    )
    assert add_checkpoint(0, [], note).decode() == "old 0\n\n" + note
    add_checkpoint(1, [bytes(32)] * 63, note)
    with pytest.raises(ValueError, match="64 hashes, where a witness reads at most 63"):
        add_checkpoint(1, [bytes(32)] * 64, note)


# ---- OpenTimestamps


def theirs(drawn: random.Random, message: bytes, depth: int = 0) -> TheirTimestamp:
    """A tree as the reference implementation builds it."""
    found = TheirTimestamp(message)
    if depth > 5 or drawn.random() < 0.3:
        found.attestations.add(PendingAttestation(f"https://cal{drawn.randrange(9)}.example"))
        if drawn.random() < 0.5:
            found.attestations.add(BitcoinBlockHeaderAttestation(drawn.randrange(2_000_000)))
        if drawn.random() < 0.3:
            found.attestations.add(UnknownAttestation(drawn.randbytes(8), drawn.randbytes(90)))
        return found
    for _ in range(drawn.choice([1, 1, 2, 3])):
        ops = [
            OpAppend(drawn.randbytes(5)),
            OpPrepend(drawn.randbytes(20)),
            OpSHA256(),
            OpSHA1(),
            OpHexlify(),
        ]
        op = drawn.choice(ops)
        found.ops[op] = theirs(drawn, op(message), depth + 1)
    return found


def test_files_of_the_reference_implementation_are_read_as_it_reads_them_and_written_back():
    for seed in range(200):
        drawn = random.Random(seed)
        digest = drawn.randbytes(32)
        tree = theirs(drawn, digest)
        context = BytesSerializationContext()
        DetachedTimestampFile(OpSHA256(), tree).serialize(context)
        data = context.getbytes()
        found_digest, found = parse_file(data)
        assert found_digest == digest
        assert sorted((m, a.tag) for m, a in found.attested(digest)) == sorted(
            (m, a.TAG) for m, a in tree.all_attestations()
        )
        heights = {a.height for _, a in found.attested(digest)} - {None}
        assert heights == {
            a.height for _, a in tree.all_attestations() if isinstance(a, BitcoinBlockHeaderAttestation)
        }
        ours = file_of(digest, found)
        again = DetachedTimestampFile.deserialize(BytesDeserializationContext(ours))
        assert again.timestamp == tree


def test_merging_is_the_reference_implementations():
    for seed in range(100):
        drawn, message = random.Random(seed), b"m" * 32
        one, other = theirs(drawn, message), theirs(drawn, message)
        merged = parse_timestamp(_bytes(one)).merged(parse_timestamp(_bytes(other)))
        one.merge(other)
        assert TheirTimestamp.deserialize(BytesDeserializationContext(merged.serialized()), message) == one


def _bytes(tree: TheirTimestamp) -> bytes:
    context = BytesSerializationContext()
    tree.serialize(context)
    return bytes(context.getbytes())


def test_what_a_calendar_adds_goes_where_its_promise_stands():
    promise = Timestamp(attestations=[Attestation(b"x" * 8, b"")])
    stamp = chain([append(b"nonce"), SHA256], promise)
    message = SHA256(b"digest" + b"nonce")
    more = chain([SHA256], Timestamp(attestations=[Attestation(BITCOIN, b"\x05")]))
    upgraded = stamp.upgraded(b"digest", message, more)
    found = {attestation.tag: at for at, attestation in upgraded.attested(b"digest")}
    assert found == {b"x" * 8: message, BITCOIN: SHA256(message)}
    assert stamp.upgraded(b"digest", b"elsewhere", more).serialized() == stamp.serialized()


def test_depth_length_and_size_have_limits_and_the_limits_themselves_are_fine():
    end = Timestamp(attestations=[Attestation(BITCOIN, b"\x05")])
    parse_timestamp(chain([SHA256] * (MAX_DEPTH - 1), end).serialized())
    with pytest.raises(BadTimestamp, match="more than 256 operations"):
        parse_timestamp(chain([SHA256] * MAX_DEPTH, end).serialized())
    assert len(append(b"x")(bytes(MAX_MESSAGE - 1))) == MAX_MESSAGE
    with pytest.raises(BadTimestamp, match="a message of 4097 bytes"):
        append(b"x")(bytes(MAX_MESSAGE))
    with pytest.raises(BadTimestamp, match="4097 bytes at byte 3, where 1 to 4096 belong"):
        parse_timestamp(chain([append(bytes(4097))], end).serialized())
    with pytest.raises(BadTimestamp, match="100001 bytes, where 100000 are the most"):
        parse_timestamp(bytes(100_001))
    with pytest.raises(BadTimestamp, match="100001 bytes, where 100000 are the most"):
        parse_file(bytes(100_001))
    with pytest.raises(BadTimestamp, match="cannot be done here"):
        Op(0x67)(b"x")
    with pytest.raises(BadTimestamp, match="says nothing"):
        Timestamp().serialized()


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 1, "does not begin"),
        (31, 2, "version 2"),
        (32, 2, "operation 0x02, not SHA-256"),
        (65, 0xAA, "not known"),
    ],
)
def test_a_file_of_another_kind_is_said(at: int, value: int, message: str):
    data = bytearray(
        file_of(bytes(32), chain([SHA256], Timestamp(attestations=[Attestation(BITCOIN, b"\x05")])))
    )
    data[at] = value
    with pytest.raises(BadTimestamp, match=message):
        parse_file(bytes(data))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading(data: bytes):
    try:
        found = parse_timestamp(data)
        list(found.attested(b"m"))
        assert parse_timestamp(found.serialized()).serialized() == found.serialized()
    except BadTimestamp:
        pass


def test_only_what_leads_to_a_block_has_settled():
    block = Timestamp(attestations=[Attestation(BITCOIN, b"\x05"), Attestation(BITCOIN, b"\x04")])
    receipt = Receipt(size=1, anchor="a", kind="ots", time=None, data=file_of(bytes(32), block))
    assert is_settled(receipt)
    assert blocks(receipt) == [4, 5]
    promise = Receipt(
        size=1, anchor="a", kind="ots", time=None,
        data=file_of(bytes(32), Timestamp(attestations=[Attestation(b"x" * 8, b"")])),
    )  # fmt: skip
    assert not is_settled(promise)
    assert is_settled(Receipt(size=1, anchor="a", kind="ots", time=None, data=b"damaged"))
    assert is_settled(Receipt(size=1, anchor="a", kind="file", time=None, data=b""))


# ---- Bitcoin


def test_the_first_block_of_bitcoin_is_what_everybody_knows_of_it():
    header = block_header(GENESIS, GENESIS[36:68], least_work=1)
    assert header.hash == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert header.root[::-1].hex() == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert header.time == 1_231_006_505  # 2009-01-03 18:15:05 UTC
    assert header.work == 0x100010001
    with pytest.raises(BadHeader, match=r"took 4\.3e\+09 hashes, where 3\.78e\+22 is the least"):
        block_header(GENESIS, GENESIS[36:68])


def test_no_bit_of_a_header_can_change():
    for at in range(0, 640, 7):
        changed = bytearray(GENESIS)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(BadHeader):
            block_header(bytes(changed), GENESIS[36:68], least_work=1 << 32)
    with pytest.raises(BadHeader, match="79 bytes"):
        block_header(GENESIS[:-1], GENESIS[36:68])


def test_targets_are_read_as_bitcoin_reads_them():
    def target(bits: int) -> int:
        return BlockHeader(bytes(72) + bits.to_bytes(4, "little") + bytes(4)).target

    # developer.bitcoin.org, "Target nBits"
    assert target(0x01003456) == 0x00
    assert target(0x02008000) == 0x80
    assert target(0x05009234) == 0x92340000
    assert target(0x04123456) == 0x12345600


# ---- configuration


KEY = str(witness_key(KeySigner("w.example/1", bytes(32)).key))


def test_anchors_are_named_by_kind_and_target_whatever_their_options():
    text = (
        f" file:/mnt/usb/witness/ , file:/srv/w|{KEY},witness:https://w.example/prefix/|{KEY},"
        "rfc3161:https://tsa.example/tsr|/etc/roots.pem,rfc3161:http://127.0.0.1:8080/tsr,"
        "ots:https://a.example|calendar=https://b.example|calendar=https://c.example|headers=http://[::1]/api,"
    )
    found = parse_anchors(text)
    assert [str(anchor) for anchor in found] == [
        "file:/mnt/usb/witness",
        "file:/srv/w",
        "witness:https://w.example/prefix",
        "rfc3161:https://tsa.example/tsr",
        "rfc3161:http://127.0.0.1:8080/tsr",
        "ots:https://a.example",
    ]
    assert (str(found[1].key), str(found[2].key), found[3].roots) == (KEY, KEY, "/etc/roots.pem")
    assert (found[5].calendars, found[5].headers) == (
        ("https://b.example", "https://c.example"),
        "http://[::1]/api",
    )
    assert parse_anchors("") == parse_anchors(" , ") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moon:x", "'moon' is none of file, witness, rfc3161, ots"),
        ("file:relative", "'relative' is no folder: a path from the root"),
        ("file:/a|b", "'b' is no key"),
        (f"file:/a|{KeySigner('w', bytes(32)).key}", "a witness's key is of type 4"),
        ("witness:https://w.example", "0 options, where the key of the witness belongs"),
        (f"witness:http://w.example|{KEY}", "'http://w.example' is not https, and not on this machine"),
        (f"witness:https://w.example|{KEY}|{KEY}", "2 options"),
        ("rfc3161:https://user:secret@tsa.example", "holds more than a host and a path"),
        ("rfc3161:https://tsa.example/?a=1", "holds more than a host and a path"),
        ("rfc3161:https://tsa.example|roots.pem", "'roots.pem' is no file of certificates"),
        ("rfc3161:https://tsa.example:99999/", "Port out of range"),
        ("rfc3161:tsa.example", "is no address such as https://anchor.example/path"),
        ("ots:https://a|colour=red", "'colour=red' is neither calendar="),
        ("ots:https://a|headers=https://b|headers=https://c", "2 places for block headers"),
        ("ots:http://localhost.evil.example", "is not https"),
        ("ots:https://a,ots:https://a/", "ots:https://a is there more than once"),
        (",".join(f"ots:https://a{n}" for n in range(MAX_ANCHORS + 1)), "17 anchors, where 16 are the most"),
    ],
)
def test_what_cannot_be_is_said_with_what_it_was(text: str, message: str):
    with pytest.raises(BadAnchor) as error:
        parse_anchors(text)
    assert message in str(error.value)


def test_as_many_as_allowed_are_fine():
    assert len(parse_anchors(",".join(f"ots:https://a{n}" for n in range(MAX_ANCHORS)))) == MAX_ANCHORS
