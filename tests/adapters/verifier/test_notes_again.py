"""Notes, keys, checkpoints and counts: what the log signs is taken, and read in one way only."""

import base64

import pytest

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.verifier.note import (
    Key,
    NoteRefused,
    bytes_of,
    check_cosigned,
    checkpoint_in,
    counts_in,
    hash_in,
    key_of,
    note_of,
)
from alphapulse.domain.provenance.anchors import cosign, witness_key
from alphapulse.domain.provenance.checkpoint import Checkpoint, Counts
from alphapulse.domain.provenance.notes import Note, signed

SIGNER = KeySigner("example.org/log", bytes(32))
KEY = key_of(str(SIGNER.key))
COUNTS = Counts({"trend": 3, "älter": 2, "b c": 4})


def note(**changed: object) -> Note:
    given = {
        "origin": "example.org/log",
        "size": 9,
        "root": bytes(32),
        "extensions": (COUNTS.line(),),
        **changed,
    }
    return Checkpoint(**given).sign(SIGNER)  # type: ignore[arg-type]


def test_a_key_is_read_as_it_is_written() -> None:
    assert Key("example.org/log", 1, SIGNER.key.public) == KEY
    assert KEY.text() == str(SIGNER.key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        "example.org/log+00000000+" + str(SIGNER.key).split("+", 2)[2],
        str(SIGNER.key).replace("example", "other"),
        str(SIGNER.key)[:-2],
        str(SIGNER.key).upper(),
        str(SIGNER.key) + " ",
        "\n" + str(SIGNER.key),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        key_of(text)


def test_a_checkpoint_is_what_was_signed() -> None:
    found = checkpoint_in(str(note()), KEY)
    assert (found.origin, found.size, found.root) == ("example.org/log", 9, bytes(32))
    assert counts_in(COUNTS.text(), found) == COUNTS.of


@pytest.mark.parametrize("size", ["09", "-1", "1.0", "", "9" * 30, "٩"])
def test_a_number_of_leaves_is_written_in_one_way(size: str) -> None:
    text = f"example.org/log\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"
    with pytest.raises(NoteRefused):
        checkpoint_in(_signed(text), KEY)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(NoteRefused, match=r"a checkpoint of .example"):
        checkpoint_in(str(note(origin="example.org/other")), KEY)


def test_who_signed_is_told_where_it_was_another() -> None:
    other = key_of(str(KeySigner("example.org/log", bytes([1]) * 32).key))
    with pytest.raises(NoteRefused, match=f"not signed by example.org/log .{other.id.hex()}"):
        checkpoint_in(str(note()), other)


@pytest.mark.parametrize("changed", ["9\n", "\n\u2014", "AAAA"])
def test_a_text_that_was_altered_is_refused(changed: str) -> None:
    with pytest.raises(NoteRefused):
        checkpoint_in(str(note()).replace(changed, changed.replace("9", "8").replace("A", "B") + "x", 1), KEY)


@pytest.mark.parametrize("text", ["", "x", "a\nb\n", "a\n\n", "a\n\nb\n", "a\x01b\n\n\u2014 x AAAAAAAA\n"])
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        note_of(text)


@pytest.mark.parametrize("text", ["A", "QR==", "QQ=", "QQ", "Q Q=", "QQ==\n", "QQ==QQ==", "é", "-_8="])
def test_base64_is_read_in_one_way(text: str) -> None:
    with pytest.raises(NoteRefused):
        bytes_of(text)
    assert bytes_of("QQ==") == b"A"


@pytest.mark.parametrize("text", [None, 5, "QQ==", ["A"]])
def test_a_hash_is_32_bytes(text: object) -> None:
    with pytest.raises(NoteRefused):
        hash_in(text)


@pytest.mark.parametrize(
    "text",
    ["", "3 trend\n", COUNTS.text()[:-1], COUNTS.text() + "0 x\n", COUNTS.text().replace("3", "2")],
)
def test_another_list_of_counts_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        counts_in(text, checkpoint_in(str(note()), KEY))


@pytest.mark.parametrize("line", ["signals 9 9 {}", "signals 3 8 {}", "signals 3 9", "signals 3 9 {} x"])
def test_totals_that_do_not_fit_the_list_are_refused(line: str) -> None:
    digest = COUNTS.line().split(" ")[3]
    with pytest.raises(NoteRefused):
        counts_in(COUNTS.text(), checkpoint_in(str(note(extensions=(line.format(digest),))), KEY))


def test_two_lists_of_counts_are_none() -> None:
    with pytest.raises(NoteRefused, match="does not commit"):
        counts_in(COUNTS.text(), checkpoint_in(str(note(extensions=(COUNTS.line(), COUNTS.line()))), KEY))


def test_a_witness_says_when_it_saw_a_checkpoint() -> None:
    witness = KeySigner("witness.example", bytes([7]) * 32)
    made = note()
    line = str(cosign(made.text, witness, 1_700_000_000))
    key = key_of(str(witness_key(witness.key)))
    assert check_cosigned(note_of(str(made) + line), key) == 1_700_000_000
    with pytest.raises(NoteRefused, match="not cosigned"):
        check_cosigned(note_of(str(made)), key)
    other = str(note(size=10)) + line
    with pytest.raises(NoteRefused, match="not over this text"):
        check_cosigned(note_of(other), key)


def _signed(text: str) -> str:
    return str(signed(text, SIGNER))
