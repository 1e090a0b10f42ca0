"""Signed notes as Go's golang.org/x/mod/sumdb/note and C2SP signed-note have them.

The names, keys and notes under "Neumann" are the published examples of Go's package.
"""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.provenance.keys import KeySigner, ed25519, signer_of
from alphapulse.domain.provenance.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    BadNote,
    Note,
    NoteKey,
    check,
    decode_base64,
    parse_note,
    signed,
)

NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
SAYING = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
BY_NEUMANN = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)
BY_ROOT = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnW"
    "Lox33WWd1RvMc+QQ=\n"
)
SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

SIGNER = KeySigner("example.org/log", bytes(range(32)))
OTHER = KeySigner("example.org/log", bytes(range(1, 33)))
TEXT = "example.org/log\n3\nfacts\n"
NOTE = str(signed(TEXT, SIGNER))


def test_go_signs_and_is_signed_alike() -> None:
    signer = signer_of(NEUMANN_SECRET)
    assert str(signer.key) == NEUMANN
    assert str(signed(SAYING, signer)) == f"{SAYING}\n{BY_NEUMANN}"


def test_a_note_signed_by_several_holds_for_each_of_them() -> None:
    note = parse_note(f"{SAYING}\n{BY_NEUMANN}{BY_ROOT}")
    check(note, NoteKey.parse(NEUMANN), ed25519)
    assert [signature.name for signature in note.signatures] == ["PeterNeumann", "EnochRoot"]
    assert str(note) == f"{SAYING}\n{BY_NEUMANN}{BY_ROOT}"


@pytest.mark.parametrize("key", [NEUMANN, SUMDB, str(SIGNER.key)])
def test_a_key_is_read_as_it_is_written(key: str) -> None:
    assert str(NoteKey.parse(key)) == key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no key"),
        ("PeterNeumann+c74f20a3", "is no key"),
        (NEUMANN.replace("c74f20a3", "c74f20a4"), "has id c74f20a3, not c74f20a4"),
        (NEUMANN.replace("Peter", "Pater"), "has id [0-9a-f]+, not c74f20a3"),
        (NEUMANN[:-1], "is not base64"),
        ("PeterNeumann+c74f20a3+ARpc", "neither of Ed25519 nor a witness's: 3 bytes"),
        (NEUMANN.replace("+ARpc", "+Axpc"), "neither of Ed25519 nor a witness's: 33 bytes"),
        (NEUMANN.replace("PeterNeumann", "Peter Neumann"), "is no name of a key"),
        ("+c74f20a3+" + NEUMANN.split("+", 2)[2], "is no name of a key"),
    ],
)
def test_what_is_no_key_is_refused_with_its_value(text: str, why: str) -> None:
    with pytest.raises(BadNote, match=why):
        NoteKey.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty line, and lines of signatures"),
        (TEXT, "an empty line, and lines of signatures"),
        (NOTE[:-1], "an empty line, and lines of signatures"),
        (f"{NOTE}\n", "an empty line, and lines of signatures"),
        (NOTE.replace("\n\n", "\n"), "an empty line, and lines of signatures"),
        (NOTE.replace("— ", "- "), "'- example.org/log .*' is no line of a signature"),
        (NOTE.replace("— ", "—"), "is no line of a signature"),
        (f"{TEXT}\n— two words AAAAAAAAAAA=\n", "'words AAAAAAAAAAA=' is not base64"),
        (f"{TEXT}\n— a+b AAAAAAAAAAA=\n", "is no line of a signature"),
        (f"{TEXT}\n— name AAAA\n", "the signature of name has 3 bytes"),
        (f"{TEXT}\n— name AAAAAAAAAAB=\n", "is not base64 as it is written"),
        (NOTE.replace("facts", "fa\tcts"), "no control characters"),
        (NOTE.replace("facts", "fa\rcts"), "no control characters"),
        (NOTE + "— name AAAAAAAAAAA=\n" * MAX_SIGNATURES, f"{MAX_SIGNATURES + 1} signatures"),
        ("a" * (MAX_NOTE_BYTES + 1), f"a note of {MAX_NOTE_BYTES + 1} characters"),
    ],
)
def test_what_is_no_note_is_refused_with_its_value(text: str, why: str) -> None:
    with pytest.raises(BadNote, match=why):
        parse_note(text)


def test_a_note_may_hold_as_many_signatures_as_the_limit() -> None:
    note = parse_note(NOTE + "— name AAAAAAAAAAA=\n" * (MAX_SIGNATURES - 1))
    check(note, SIGNER.key, ed25519)
    assert len(note.signatures) == MAX_SIGNATURES


def test_signatures_stand_under_the_last_empty_line() -> None:
    text = "one\n\ntwo\n"
    assert parse_note(str(signed(text, SIGNER))).text == text


def test_a_note_of_another_key_of_the_same_name_is_refused() -> None:
    with pytest.raises(BadNote, match=f"not signed by example.org/log .{OTHER.key.id.hex()}., but by"):
        check(parse_note(NOTE), OTHER.key, ed25519)


def test_one_false_signature_of_the_key_beside_a_true_one_is_refused() -> None:
    true = parse_note(NOTE).signatures[0]
    false = parse_note(str(signed("another\n", SIGNER))).signatures[0]
    for signatures in ([true, false], [false, true]):
        with pytest.raises(BadNote, match="is not over this text"):
            check(Note(TEXT, signatures), SIGNER.key, ed25519)


def test_a_text_that_ends_without_a_newline_is_not_signed() -> None:
    with pytest.raises(BadNote, match="ends with a newline"):
        signed("text", SIGNER)


@given(st.data())
def test_no_letter_of_a_note_can_be_altered(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(NOTE) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda c: c != NOTE[at]))
    with pytest.raises(BadNote):
        check(parse_note(NOTE[:at] + letter + NOTE[at + 1 :]), SIGNER.key, ed25519)


@given(
    st.text(
        st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), include_characters="\n"),
        min_size=1,
    )
)
def test_what_was_signed_is_what_is_read(text: str) -> None:
    note = parse_note(str(signed(f"{text}\n", SIGNER)))
    check(note, SIGNER.key, ed25519)
    assert note.text == f"{text}\n"


@given(st.binary(max_size=80))
def test_each_value_has_one_base64(data: bytes) -> None:
    text = b64encode(data).decode()
    assert decode_base64(text) == data
    for wrong in (f"{text}=", f"{text}\n", f" {text}", text.rstrip("=") if "=" in text else f"{text}A"):
        with pytest.raises(BadNote):
            decode_base64(wrong)
