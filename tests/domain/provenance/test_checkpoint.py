"""Checkpoints as C2SP tlog-checkpoint has them, and what ours say of signals."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.domain.provenance.checkpoint import Checkpoint, Counts, checkpoint_of, open_checkpoint
from alphapulse.domain.provenance.merkle import EMPTY_ROOT
from alphapulse.domain.provenance.notes import BadNote, signed

ORIGIN = "example.org/log"
SIGNER = KeySigner(ORIGIN, bytes(32))
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
COUNTS = Counts({"breakout": 12, "äther": 3, "averages": 7})


def test_a_checkpoint_is_three_lines_and_what_it_says_of_signals() -> None:
    checkpoint = Checkpoint(
        origin=ORIGIN, size=20852163, root=base64.b64decode(ROOT), extensions=(COUNTS.line(),)
    )
    digest = base64.b64encode(sha256("7 averages\n12 breakout\n3 äther\n".encode()).digest()).decode()
    assert checkpoint.text() == f"{ORIGIN}\n20852163\n{ROOT}\nsignals 3 22 {digest}\n"
    assert checkpoint.signals_line == COUNTS.line()


def test_where_no_strategy_has_a_signal_the_list_is_empty() -> None:
    assert Counts({}).text() == ""
    assert Counts({}).line() == f"signals 0 0 {base64.b64encode(sha256().digest()).decode()}"


def test_a_checkpoint_of_another_log_may_say_nothing_of_signals() -> None:
    assert checkpoint_of(f"{ORIGIN}\n0\n{ROOT}\n").signals_line is None


checkpoints = st.builds(
    lambda size, root, lines: Checkpoint(origin=ORIGIN, size=size, root=root, extensions=tuple(lines)),
    st.integers(0, 2**63),
    st.binary(min_size=32, max_size=32),
    st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1), max_size=3),
)


@given(checkpoints)
def test_what_was_signed_is_what_is_opened(checkpoint: Checkpoint) -> None:
    assert checkpoint_of(checkpoint.text()) == checkpoint
    assert open_checkpoint(str(checkpoint.sign(SIGNER)), SIGNER.key, ed25519) == checkpoint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a line for its origin, its size and its root"),
        (f"{ORIGIN}\n5\n", "a line for its origin, its size and its root"),
        (f"{ORIGIN}\n5\n{ROOT}", "a line for its origin, its size and its root"),
        (f"two words\n5\n{ROOT}\n", "'two words' is no name of a log"),
        (f"\n5\n{ROOT}\n", "'' is no name of a log"),
        (f"{ORIGIN}\n\n{ROOT}\n", "'' is no number of leaves"),
        (f"{ORIGIN}\n05\n{ROOT}\n", "'05' is no number of leaves"),
        (f"{ORIGIN}\n-5\n{ROOT}\n", "'-5' is no number of leaves"),
        (f"{ORIGIN}\n\u0665\n{ROOT}\n", "'\u0665' is no number of leaves"),
        (f"{ORIGIN}\n5\n{ROOT[:-1]}\n", "is not base64"),
        (f"{ORIGIN}\n5\n{ROOT[:-2]}J=\n", "is not base64 as it is written"),
        (f"{ORIGIN}\n5\nAAAA\n", "a root of 3 bytes, not 32"),
        (f"{ORIGIN}\n5\n{ROOT}\n\nmore\n", "no empty lines"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_its_value(text: str, why: str) -> None:
    with pytest.raises(BadNote, match=why):
        checkpoint_of(text)


def test_a_key_signs_for_the_log_of_its_own_name_only() -> None:
    note = signed(Checkpoint(origin="example.org/other", size=0, root=EMPTY_ROOT).text(), SIGNER)
    with pytest.raises(BadNote, match=f"a checkpoint of example.org/other, signed by {ORIGIN}"):
        open_checkpoint(str(note), SIGNER.key, ed25519)


@given(st.data())
def test_a_checkpoint_with_another_size_or_root_is_not_signed(data: st.DataObject) -> None:
    """A proof alone does not bind the size: the signed checkpoint does, together with the root."""
    checkpoint = Checkpoint(
        origin=ORIGIN, size=1_000, root=base64.b64decode(ROOT), extensions=(COUNTS.line(),)
    )
    note = str(checkpoint.sign(SIGNER))
    size = data.draw(st.integers(0, 10**6).filter(lambda n: n != 1_000))
    root = data.draw(st.binary(min_size=32, max_size=32).filter(lambda r: r != checkpoint.root))
    for old, new in (("\n1000\n", f"\n{size}\n"), (ROOT, base64.b64encode(root).decode())):
        with pytest.raises(BadNote, match="is not over this text"):
            open_checkpoint(note.replace(old, new), SIGNER.key, ed25519)


@given(st.dictionaries(st.text("abcö ", min_size=1, max_size=3), st.integers(0, 5)), st.data())
def test_counts_that_differ_commit_to_something_else(counts: dict[str, int], data: st.DataObject) -> None:
    other = data.draw(st.dictionaries(st.text("abcö ", min_size=1, max_size=3), st.integers(0, 5)))
    assert (Counts(counts).line() == Counts(other).line()) == (counts == other)
