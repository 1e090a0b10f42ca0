"""The tree against its own definition, against pymerkle, and against whoever alters a proof."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from alphapulse.domain.provenance.merkle import (
    EMPTY_ROOT,
    BadProof,
    Frontier,
    Node,
    consistency_ranges,
    cover,
    fold,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    range_root,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.domain.provenance.rfc6962 import RecursiveTree

MOST = 1_000
DATA = [b"leaf %d" % i for i in range(MOST)]
LEAVES = [leaf_hash(data) for data in DATA]
ORACLE = RecursiveTree(LEAVES)
sizes = st.integers(1, 300)


class Nodes(Mapping[Node, bytes]):
    """The hash of any node over LEAVES, as a store of nodes would give it."""

    def __getitem__(self, node: Node) -> bytes:
        lo, hi = node.number << node.level, (node.number + 1) << node.level
        assert hi <= MOST, f"{node} is not complete"
        return ORACLE.root(lo, hi)

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


NODES = Nodes()


def inclusion(index: int, size: int) -> list[bytes]:
    return [range_root(lo, hi, NODES) for lo, hi in inclusion_ranges(index, size)]


def consistency(old: int, new: int) -> list[bytes]:
    return [range_root(lo, hi, NODES) for lo, hi in consistency_ranges(old, new)]


def interesting(size: int) -> Sequence[int]:
    """Leaves at both ends and in the middle, and all where they are few."""
    return range(size) if size <= 40 else sorted({0, 1, size // 3, size // 2, size - 2, size - 1})


def test_the_published_roots_of_the_first_sizes_come_out() -> None:
    """The tree of certificate-transparency's reference tests over eight given leaves."""
    leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in leaves]
    assert {size: root_of(hashes[:size]).hex() for size in roots} == roots
    assert sha256().digest() == EMPTY_ROOT == root_of([]) == Frontier().root()


def test_roots_of_sizes_1_to_1000_are_those_of_the_recursive_definition_and_of_pymerkle() -> None:
    tree, peer = Frontier(), InmemoryTree(algorithm="sha256")
    for size, data in enumerate(DATA, 1):
        tree.append(leaf_hash(data))
        peer.append_entry(data)
        assert tree.root() == ORACLE.root(0, size) == peer.get_root(), size
        assert tree.size == size == len(LEAVES[:size])
    assert root_of(LEAVES) == tree.root()


def test_inclusion_proofs_of_sizes_1_to_1000_are_those_of_the_recursive_definition() -> None:
    for size in range(1, MOST + 1):
        for index in interesting(size):
            proof = inclusion(index, size)
            assert proof == ORACLE.path(index, 0, size), (index, size)
            verify_inclusion(index, size, LEAVES[index], proof, ORACLE.root(0, size))


def test_consistency_proofs_of_sizes_1_to_1000_are_those_of_the_recursive_definition() -> None:
    for new in range(1, MOST + 1):
        for old in interesting(new):
            if old:
                proof = consistency(old, new)
                assert proof == ORACLE.proof(old, new), (old, new)
                verify_consistency(old, new, ORACLE.root(0, old), ORACLE.root(0, new), proof)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 255, 256, 257, 999, 1000])
def test_pymerkle_makes_the_same_inclusion_proofs(size: int) -> None:
    """Its consistency proofs have a form of their own."""
    peer = InmemoryTree.init_from_entries(DATA[:size], algorithm="sha256")
    for index in interesting(size):
        theirs = peer.prove_inclusion(index + 1, size).path
        assert [LEAVES[index], *inclusion(index, size)] == list(theirs)


@given(st.data())
def test_no_byte_of_an_inclusion_proof_can_be_altered(data: st.DataObject) -> None:
    size = data.draw(sizes)
    index = data.draw(st.integers(0, size - 1))
    hashes = [LEAVES[index], ORACLE.root(0, size), *inclusion(index, size)]
    altered = _altered(data, hashes)
    with pytest.raises(BadProof):
        verify_inclusion(index, size, altered[0], altered[2:], altered[1])


@given(st.data())
def test_no_byte_of_a_consistency_proof_can_be_altered(data: st.DataObject) -> None:
    new = data.draw(sizes)
    old = data.draw(st.integers(1, new))
    hashes = [ORACLE.root(0, old), ORACLE.root(0, new), *consistency(old, new)]
    altered = _altered(data, hashes)
    with pytest.raises(BadProof):
        verify_consistency(old, new, altered[0], altered[1], altered[2:])


@given(st.data())
def test_a_leaf_is_at_no_other_index(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(-1, 2 * size).filter(lambda i: i != index))
    with pytest.raises(BadProof):
        verify_inclusion(other, size, LEAVES[index], inclusion(index, size), ORACLE.root(0, size))


@given(st.data())
def test_hashes_too_many_or_too_few_are_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion(index, size)
    at = data.draw(st.integers(0, len(proof)))
    longer = [*proof[:at], data.draw(st.sampled_from([LEAVES[0], *proof])), *proof[at:]]
    for wrong in (longer, proof[:-1], proof[1:]):
        with pytest.raises(BadProof, match=f"^{len(wrong)} hashes for leaf {index} of {size}"):
            verify_inclusion(index, size, LEAVES[index], wrong, ORACLE.root(0, size))


@given(st.data())
def test_another_tree_of_the_same_size_is_not_consistent(data: st.DataObject) -> None:
    """A fork: one leaf of the old tree is another in the new one."""
    new = data.draw(st.integers(2, 300))
    old = data.draw(st.integers(1, new - 1))
    forked = list(LEAVES[:new])
    forked[data.draw(st.integers(0, old - 1))] = leaf_hash(b"another")
    tree = RecursiveTree(forked)
    with pytest.raises(BadProof, match=r"^the root of \d+ leaves comes out as"):
        verify_consistency(old, new, ORACLE.root(0, old), tree.root(0, new), tree.proof(old, new))


def test_nothing_is_shown_by_the_empty_tree_nor_by_a_longer_one() -> None:
    with pytest.raises(BadProof, match="any tree begins with the empty one"):
        verify_consistency(0, 5, EMPTY_ROOT, ORACLE.root(0, 5), [])
    with pytest.raises(BadProof, match="a tree of 6 leaves does not begin one of 5"):
        verify_consistency(6, 5, ORACLE.root(0, 6), ORACLE.root(0, 5), [])


@given(size=sizes, data=st.data())
def test_what_is_left_out_gives_the_same_root_whatever_is_selected(size: int, data: st.DataObject) -> None:
    """Leaves one by one, and the nodes that cover the gaps between them: one pass of a frontier."""
    kept = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    tree, at = Frontier(), 0
    for lo, hi in [*((leaf, leaf + 1) for leaf in kept), (size, size)]:
        for node in cover(at, lo):
            tree.append(NODES[node], node.level)
        for leaf in range(lo, hi):
            tree.append(LEAVES[leaf])
        at = hi
    assert (tree.size, tree.root()) == (size, ORACLE.root(0, size))


@given(size=st.integers(0, MOST), more=st.integers(0, 50))
def test_a_frontier_goes_on_from_its_hashes(size: int, more: int) -> None:
    more = min(more, MOST - size)
    tree = Frontier(size, [NODES[node] for node in cover(0, size)])
    for leaf in LEAVES[size : size + more]:
        tree.append(leaf)
    assert tree.root() == ORACLE.root(0, size + more)
    assert list(tree.hashes) == [NODES[node] for node in cover(0, size + more)]


@given(st.integers(0, MOST), st.integers(0, MOST))
def test_a_cover_is_its_range_once_from_left_to_right(lo: int, hi: int) -> None:
    lo, hi = sorted((lo, hi))
    covered = [
        i for node in cover(lo, hi) for i in range(node.number << node.level, (node.number + 1) << node.level)
    ]
    assert covered == list(range(lo, hi))
    assert len(cover(lo, hi)) <= 2 * max(1, (hi - lo).bit_length())


def test_a_frontier_tells_each_node_once_when_its_last_leaf_comes() -> None:
    tree, told = Frontier(), {}
    for leaf in LEAVES:
        for node, found in tree.append(leaf):
            assert node not in told
            assert (node.number + 1) << node.level == tree.size
            told[node] = found
    assert told == {node: NODES[node] for node in told}
    assert len(told) == sum(MOST >> level for level in range(1, 10))


def test_a_frontier_refuses_a_node_that_cannot_begin_there() -> None:
    tree = Frontier(1, [LEAVES[0]])
    with pytest.raises(ValueError, match="no node of level 1 begins at leaf 1"):
        tree.append(LEAVES[1], 1)
    with pytest.raises(ValueError, match="1 hashes for 3 leaves, where 2 belong"):
        Frontier(3, [LEAVES[0]])
    assert tree.root() == LEAVES[0]


def test_plans_refuse_what_is_not_in_the_tree() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match=f"leaf {index} is not in a tree of {size} leaves"):
            inclusion_ranges(index, size)
    for lo, hi in ((-1, 2), (3, 2)):
        with pytest.raises(ValueError, match=f"no range of leaves goes from {lo} to {hi}"):
            cover(lo, hi)
        with pytest.raises(ValueError, match=f"no range of leaves goes from {lo} to {hi}"):
            consistency_ranges(lo, hi)


def test_a_proof_among_a_thousand_million_leaves_is_under_a_kilobyte() -> None:
    size = 10**9
    assert max(len(inclusion_ranges(index, size)) for index in (0, 1, size // 2, size - 1)) * 32 <= 30 * 32


def test_leaves_and_nodes_are_hashed_apart() -> None:
    """Else a node could pass for a leaf: RFC 6962 section 2.1."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])
    assert fold([LEAVES[0]]) == LEAVES[0]


def _altered(data: st.DataObject, hashes: Sequence[bytes]) -> list[bytes]:
    """``hashes`` with one bit of one of them turned."""
    which = data.draw(st.integers(0, len(hashes) - 1))
    at, bit = data.draw(st.integers(0, 31)), data.draw(st.integers(0, 7))
    changed = bytearray(hashes[which])
    changed[at] ^= 1 << bit
    return [*hashes[:which], bytes(changed), *hashes[which + 1 :]]
