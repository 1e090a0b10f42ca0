"""Every vector of transparency-dev/merkle, one test a folder: what is to be accepted is, all else refused."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alphapulse.domain.provenance.merkle import BadProof, verify_consistency, verify_inclusion
from alphapulse.domain.provenance.subtree import verify_subtree_consistency, verify_subtree_inclusion
from tests.market_data import data_file

KINDS = {"inclusion": 98, "consistency": 98, "subtreeinclusion": 204, "subtreeconsistency": 118}


@pytest.mark.parametrize("kind", KINDS)
def test_every_vector_is_judged_as_it_says(kind: str) -> None:
    files = _files(kind)
    wrong = [str(file) for file in files if _is_accepted(kind, json.loads(file.read_text())) is None]
    assert (len(files), wrong) == (KINDS[kind], [])


@pytest.mark.parametrize("kind", KINDS)
def test_the_vectors_hold_both_good_and_bad_proofs(kind: str) -> None:
    wanted = [bool(json.loads(file.read_text())["wantErr"]) for file in _files(kind)]
    assert {True, False} == set(wanted)


def _files(kind: str) -> Sequence[Path]:
    return sorted(data_file(f"reference/merkle/testdata/{kind}").rglob("*.json"))


def _is_accepted(kind: str, vector: dict[str, Any]) -> bool | None:
    """Whether the proof is accepted; None where that is not what the vector wants."""
    try:
        _verify(kind, vector)
        found = True
    except BadProof:
        found = False
    return found if found != vector["wantErr"] else None


def _verify(kind: str, vector: dict[str, Any]) -> None:
    def given(name: str) -> bytes:
        return base64.b64decode(vector[name] or "")

    proof = [base64.b64decode(each) for each in vector["proof"] or []]
    match kind:
        case "inclusion":
            verify_inclusion(vector["leafIdx"], vector["treeSize"], given("leafHash"), proof, given("root"))
        case "consistency":
            verify_consistency(vector["size1"], vector["size2"], given("root1"), given("root2"), proof)
        case "subtreeinclusion":
            place = (vector["leafIdx"], vector["start"], vector["end"])
            verify_subtree_inclusion(*place, given("leafHash"), proof, given("root"))
        case _:
            place = (vector["start"], vector["end"], vector["size"])
            verify_subtree_consistency(*place, given("root1"), given("root2"), proof)
