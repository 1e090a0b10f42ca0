"""Subtree proofs, against the recursive definition of the draft."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.provenance.merkle import (
    EMPTY_ROOT,
    BadProof,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
)
from alphapulse.domain.provenance.subtree import (
    is_subtree,
    subtree_consistency_ranges,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from tests.domain.provenance.rfc6962 import RecursiveTree, half

MOST = 70
LEAVES = [leaf_hash(b"leaf %d" % i) for i in range(MOST)]
ORACLE = RecursiveTree(LEAVES)


def subtree_proof(start: int, end: int, lo: int, hi: int, is_whole: bool = True) -> list[bytes]:
    """The draft's SUBTREE_SUBPROOF; ``start`` and ``end`` count from the beginning of the log."""
    if (start, end) == (lo, hi):
        return [] if is_whole else [ORACLE.root(lo, hi)]
    k = half(hi - lo)
    if end <= lo + k:
        return [*subtree_proof(start, end, lo, lo + k, is_whole), ORACLE.root(lo + k, hi)]
    if lo + k <= start:
        return [*subtree_proof(start, end, lo + k, hi, is_whole), ORACLE.root(lo, lo + k)]
    return [*subtree_proof(lo + k, end, lo + k, hi, False), ORACLE.root(lo, lo + k)]


def subtrees(size: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(size) for b in range(a + 1, size + 1) if is_subtree(a, b)]


def test_every_subtree_of_every_small_tree_is_proved_as_the_draft_says() -> None:
    for size in range(1, MOST + 1, 3):
        for start, end in subtrees(size):
            proof = [ORACLE.root(lo, hi) for lo, hi in subtree_consistency_ranges(start, end, size)]
            assert proof == subtree_proof(start, end, 0, size), (start, end, size)
            verify_subtree_consistency(start, end, size, ORACLE.root(start, end), ORACLE.root(0, size), proof)


def test_a_subtree_from_the_beginning_is_an_older_tree() -> None:
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            assert subtree_consistency_ranges(0, old, new) == consistency_ranges(old, new)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (4, 8), (4, 7), (8, 13), (6, 8), (63, 64)])
def test_subtrees_begin_at_a_multiple_of_the_power_of_two_that_holds_them(start: int, end: int) -> None:
    assert is_subtree(start, end)


@pytest.mark.parametrize(("start", "end"), [(1, 3), (2, 5), (4, 9), (0, 0), (3, 2), (-1, 0), (1, 2**63 + 2)])
def test_other_ranges_are_no_subtrees(start: int, end: int) -> None:
    assert not is_subtree(start, end)
    with pytest.raises(ValueError, match=f"leaves {start} to {end} are no subtree"):
        subtree_consistency_ranges(start, end, 2**64)
    with pytest.raises(BadProof):
        verify_subtree_inclusion(start, start, end, LEAVES[0], [], LEAVES[0])


@given(st.data())
def test_no_byte_of_a_subtree_proof_can_be_altered(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    start, end = data.draw(st.sampled_from(subtrees(size)))
    hashes = [ORACLE.root(start, end), ORACLE.root(0, size), *subtree_proof(start, end, 0, size)]
    which, at = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(0, 255))
    changed = int.from_bytes(hashes[which], "big") ^ (1 << at)
    hashes[which] = changed.to_bytes(32, "big")
    with pytest.raises(BadProof):
        verify_subtree_consistency(start, end, size, hashes[0], hashes[1], hashes[2:])


@given(st.data())
def test_a_leaf_is_in_its_subtree_at_its_own_place_only(data: st.DataObject) -> None:
    start, end = data.draw(st.sampled_from(subtrees(MOST)))
    index = data.draw(st.integers(start, end - 1))
    proof = [ORACLE.root(start + lo, start + hi) for lo, hi in inclusion_ranges(index - start, end - start)]
    verify_subtree_inclusion(index, start, end, LEAVES[index], proof, ORACLE.root(start, end))
    other = data.draw(st.integers(0, MOST).filter(lambda i: i != index))
    with pytest.raises(BadProof):
        verify_subtree_inclusion(other, start, end, LEAVES[index], proof, ORACLE.root(start, end))


def test_an_empty_subtree_has_the_empty_root_and_no_proof() -> None:
    verify_subtree_consistency(3, 3, 7, EMPTY_ROOT, ORACLE.root(0, 7), [])
    with pytest.raises(BadProof, match="1 hashes for an empty subtree, where none belongs"):
        verify_subtree_consistency(3, 3, 7, EMPTY_ROOT, ORACLE.root(0, 7), [LEAVES[0]])
    with pytest.raises(BadProof, match="the empty tree's root is e3b0c4"):
        verify_subtree_consistency(3, 3, 7, LEAVES[0], ORACLE.root(0, 7), [])
    with pytest.raises(BadProof, match="leaves 8 to 8 are no subtree of a tree of 7"):
        verify_subtree_consistency(8, 8, 7, EMPTY_ROOT, ORACLE.root(0, 7), [])
