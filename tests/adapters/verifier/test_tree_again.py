"""The verifier's tree is that of the log, and judges proofs as transparency-dev's vectors want."""

import base64
import json
from hashlib import sha256

import pytest

from alphapulse.adapters.verifier.merkle import (
    ProofRefuted,
    RightEdge,
    check_consistent,
    check_included,
    levels_of_gap,
)
from alphapulse.domain.provenance.merkle import (
    Frontier,
    Node,
    consistency_ranges,
    cover,
    inclusion_ranges,
    range_root,
)
from tests.market_data import data_file

SIZE = 40
LEAVES = [sha256(bytes([i])).digest() for i in range(SIZE)]


def _nodes() -> tuple[dict[Node, bytes], list[bytes]]:
    tree, nodes, roots = Frontier(), {}, [Frontier().root()]
    for i, leaf in enumerate(LEAVES):
        nodes[Node(0, i)] = leaf
        nodes.update(tree.append(leaf))
        roots.append(tree.root())
    return nodes, roots


NODES, ROOTS = _nodes()


def test_roots_are_those_of_the_log() -> None:
    edge = RightEdge()
    found = [edge.root()]
    for leaf in LEAVES:
        edge.add(leaf)
        found.append(edge.root())
    assert found == ROOTS


def test_nodes_of_any_gap_stand_for_its_leaves() -> None:
    for lo in range(SIZE):
        for hi in range(lo + 1, SIZE + 1):
            nodes = cover(lo, hi)
            assert levels_of_gap(lo, hi) == [node.level for node in nodes]
            edge = RightEdge()
            for leaf in LEAVES[:lo]:
                edge.add(leaf)
            for node in nodes:
                edge.add(NODES[node], node.level)
            assert (edge.size, edge.root()) == (hi, ROOTS[hi])


def test_a_copy_grows_for_itself() -> None:
    edge = RightEdge()
    edge.add(LEAVES[0])
    other = edge.copy()
    other.add(LEAVES[1])
    assert (edge.root(), other.root()) == (ROOTS[1], ROOTS[2])


def test_proofs_of_the_log_are_accepted_and_altered_ones_are_not() -> None:
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            proof = [range_root(lo, hi, NODES) for lo, hi in consistency_ranges(old, new)]
            check_consistent(old, ROOTS[old], new, ROOTS[new], proof)
            for bad in ([*proof, LEAVES[0]], proof[1:] if proof else [LEAVES[0]]):
                with pytest.raises(ProofRefuted):
                    check_consistent(old, ROOTS[old], new, ROOTS[new], bad)
        for leaf in range(new):
            proof = [range_root(lo, hi, NODES) for lo, hi in inclusion_ranges(leaf, new)]
            check_included(leaf, new, LEAVES[leaf], proof, ROOTS[new])
            with pytest.raises(ProofRefuted):
                check_included(leaf, new, sha256(LEAVES[leaf]).digest(), proof, ROOTS[new])
            with pytest.raises(ProofRefuted):
                check_included(leaf, new, LEAVES[leaf], [*proof, LEAVES[0]], ROOTS[new])


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_every_vector_is_judged_as_it_says(kind: str) -> None:
    files = sorted(data_file(f"reference/merkle/testdata/{kind}").rglob("*.json"))
    vectors = {str(file): json.loads(file.read_text()) for file in files}
    assert len(files) == 98
    assert [name for name, v in vectors.items() if _is_accepted(kind, v) == v["wantErr"]] == []


def _is_accepted(kind: str, vector: dict[str, object]) -> bool:
    def given(name: str) -> bytes:
        return base64.b64decode(str(vector[name] or ""))

    proof = [base64.b64decode(each) for each in vector["proof"] or []]  # type: ignore[attr-defined]
    try:
        if kind == "inclusion":
            check_included(vector["leafIdx"], vector["treeSize"], given("leafHash"), proof, given("root"))  # type: ignore[arg-type]
        else:
            check_consistent(vector["size1"], given("root1"), vector["size2"], given("root2"), proof)  # type: ignore[arg-type]
    except ProofRefuted:
        return False
    return True
