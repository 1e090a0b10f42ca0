"""Whatever is altered of rows or leaves is found, at the leaf where it was, and nothing else is."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.ports import Envelope, StoredRecord
from alphapulse.domain.provenance.faults import FaultKind, TreeCheck, all_match, node_faults, row_faults
from alphapulse.domain.provenance.leaf import commitment_of, leaf_of, preimage_of
from alphapulse.domain.provenance.merkle import Frontier, Node, leaf_hash, root_of
from alphapulse.domain.provenance.sealing import ERASED, Leaves

FIRST = 100  # the leaf that the page begins with
START = datetime(2026, 1, 1, tzinfo=UTC)
Alter = Callable[[StoredRecord], StoredRecord]


def page(seed: int, count: int) -> tuple[list[StoredRecord], Leaves]:
    """Records with gaps between their positions, and the leaves that were sealed of them."""
    draw = random.Random(seed)
    records, position = [], 1_000
    for n in range(count):
        position += draw.choice([1, 1, 1, 4])
        lo = draw.choice([None, draw.randrange(100)])
        envelope = Envelope(
            event_id=UUID(bytes=draw.randbytes(16)),
            event_time=draw.choice([None, 0, draw.randrange(2**62)]),
            cause_id=draw.choice([None, UUID(bytes=draw.randbytes(16))]),
            correlation_id=draw.choice([None, UUID(bytes=draw.randbytes(16))]),
            actor=draw.choice(["system", "älice"]),
            trace=draw.choice([None, "", "00-trace"]),
        )
        records.append(
            StoredRecord(
                stream=f"s-{draw.randrange(3)}",
                version=n + 1,
                name="a.b.v1",
                state=draw.randbytes(draw.randrange(1, 20)),
                envelope=envelope,
                id_lo=lo,
                id_hi=None if lo is None else lo + 1,
                position=position,
                recorded_at=START + timedelta(microseconds=draw.randrange(10**12)),
            )
        )
    salts = [draw.randbytes(16) for _ in records]
    commitments = [commitment_of(salt, record.state) for salt, record in zip(salts, records, strict=True)]
    hashes = [leaf_of(r, c).hash() for r, c in zip(records, commitments, strict=True)]
    leaves = Leaves(
        first=FIRST,
        positions=[record.position for record in records],
        salts=b"".join(salts),
        commitments=b"".join(commitments),
        hashes=b"".join(hashes),
    )
    return records, leaves


pages = st.builds(page, st.integers(0, 10**6), st.integers(1, 12))


def kinds(records: Sequence[StoredRecord], leaves: Leaves) -> list[tuple[int, FaultKind]]:
    return [(fault.leaf, fault.kind) for fault in row_faults(records, leaves)[0]]


def quickly(records: Sequence[StoredRecord], leaves: Leaves) -> bool:
    return all_match([preimage_of(record) for record in records], leaves)


@given(pages)
def test_what_was_sealed_has_no_faults(made: tuple[list[StoredRecord], Leaves]) -> None:
    assert row_faults(*made) == ([], {})
    assert quickly(*made)


def _envelope(**changes: object) -> Alter:
    return lambda r: msgspec.structs.replace(r, envelope=msgspec.structs.replace(r.envelope, **changes))


def _row(**changes: object) -> Alter:
    return lambda r: msgspec.structs.replace(r, **changes)


ALTERATIONS: dict[str, Alter] = {
    "stream": _row(stream="t-0"),
    "version": _row(version=99),
    "name": _row(name="a.b.v2"),
    "recorded": lambda r: msgspec.structs.replace(r, recorded_at=r.recorded_at + timedelta(microseconds=1)),
    "ids": _row(id_lo=-1, id_hi=7),
    "event id": _envelope(event_id=UUID(int=7)),
    "event time": _envelope(event_time=-1),
    "cause": _envelope(cause_id=UUID(int=0)),
    "correlation": _envelope(correlation_id=UUID(int=0)),
    "actor": _envelope(actor="mallory"),
    "trace": _envelope(trace="01"),
}


@pytest.mark.parametrize("what", ALTERATIONS)
@given(made=pages, data=st.data())
def test_a_row_of_which_any_column_was_altered_is_named(
    what: str, made: tuple[list[StoredRecord], Leaves], data: st.DataObject
) -> None:
    """Also where nothing becomes zero: what is missing is told apart from what is naught."""
    records, leaves = made
    at = data.draw(st.integers(0, len(records) - 1))
    records[at] = ALTERATIONS[what](records[at])
    assert kinds(records, leaves) == [(FIRST + at, FaultKind.COLUMNS_CHANGED)]
    assert not quickly(records, leaves)


@given(made=pages, data=st.data())
def test_any_other_payload_is_named(made: tuple[list[StoredRecord], Leaves], data: st.DataObject) -> None:
    records, leaves = made
    at = data.draw(st.integers(0, len(records) - 1))
    state = data.draw(st.binary(max_size=20).filter(lambda state: state != records[at].state))
    records[at] = msgspec.structs.replace(records[at], state=state)
    wanted = FaultKind.PAYLOAD_CHANGED if state else FaultKind.PAYLOAD_ERASED
    assert kinds(records, leaves) == [(FIRST + at, wanted)]
    assert not quickly(records, leaves)


@given(made=pages, data=st.data())
def test_any_bit_of_what_is_kept_of_a_leaf_is_named(
    made: tuple[list[StoredRecord], Leaves], data: st.DataObject
) -> None:
    records, leaves = made
    column, width, wanted = data.draw(
        st.sampled_from(
            [
                ("salts", 16, FaultKind.PAYLOAD_CHANGED),
                ("commitments", 32, FaultKind.COMMITMENT_CHANGED),
                ("hashes", 32, FaultKind.COLUMNS_CHANGED),  # until the tree has its say
            ]
        )
    )
    kept = bytearray(getattr(leaves, column))
    at = data.draw(st.integers(0, len(kept) - 1))
    kept[at] ^= 1 << data.draw(st.integers(0, 7))
    altered = replace(leaves, **{column: bytes(kept)})
    assert kinds(records, altered) == [(FIRST + at // width, wanted)]
    assert not quickly(records, altered)


@given(made=pages, data=st.data())
def test_rows_that_are_missing_or_were_never_sealed_are_named(
    made: tuple[list[StoredRecord], Leaves], data: st.DataObject
) -> None:
    records, leaves = made
    at = data.draw(st.integers(0, len(records) - 1))
    position = data.draw(
        st.integers(900, leaves.positions[-1] + 3).filter(lambda p: p not in set(leaves.positions))
    )
    after = sum(each < position for each in leaves.positions)
    gone = [record for record in records if record is not records[at]]
    assert kinds(gone, leaves) == [(FIRST + at, FaultKind.ROW_MISSING)]
    more = [*records, msgspec.structs.replace(records[0], position=position)]
    assert kinds(more, leaves) == [(FIRST + after, FaultKind.ROW_WITHOUT_LEAF)]
    assert not quickly(gone, leaves)
    assert not quickly(sorted(more, key=lambda r: r.position), leaves)


@given(made=pages, data=st.data())
def test_an_erased_salt_is_named_by_whether_the_payload_is_there(
    made: tuple[list[StoredRecord], Leaves], data: st.DataObject
) -> None:
    records, leaves = made
    at = data.draw(st.integers(0, len(records) - 1))
    holed = replace(leaves, salts=leaves.salts[: 16 * at] + ERASED + leaves.salts[16 * at + 16 :])
    assert kinds(records, holed) == [(FIRST + at, FaultKind.SALT_ERASED)]
    records[at] = msgspec.structs.replace(records[at], state=b"")
    assert kinds(records, holed) == [(FIRST + at, FaultKind.PAYLOAD_ERASED)]
    assert not quickly(records, holed)


HASHES = [leaf_hash(b"%d" % n) for n in range(600)]


def test_the_signed_root_says_that_the_row_was_right_and_the_leaf_was_not() -> None:
    kept = [*HASHES[:4], leaf_hash(b"other"), *HASHES[5:9]]
    check = TreeCheck(Frontier())
    (fault,), mended = check.grow(kept, {4: HASHES[4]}, root_of(HASHES[:9]))
    assert (fault.leaf, fault.kind, mended) == (4, FaultKind.LEAF_HASH_CHANGED, {4})
    assert check.grow(HASHES[9:20], {}, root_of(HASHES[:20])) == ([], frozenset())


def test_the_signed_root_says_that_the_leaf_was_right_and_the_row_was_not() -> None:
    check = TreeCheck(Frontier())
    assert check.grow(HASHES[:9], {4: leaf_hash(b"other")}, root_of(HASHES[:9])) == ([], frozenset())


def test_where_neither_gives_the_root_that_is_told_once() -> None:
    check = TreeCheck(Frontier())
    assert check.grow(HASHES[:5], {}, root_of(HASHES[:5]))[0] == []
    (fault,), _ = check.grow(HASHES[6:9], {7: HASHES[8]}, root_of(HASHES[:8]))
    assert (fault.leaf, fault.kind) == (5, FaultKind.ROOT_DIFFERS)
    assert fault.detail.startswith("leaves 5 to 7 give ")
    assert check.grow(HASHES[9:12], {}, root_of(HASHES[:12])) == ([], frozenset())


def test_nodes_are_those_of_whole_tiles_and_each_wrong_one_is_named() -> None:
    check = TreeCheck(Frontier())
    for lo in range(0, 600, 100):
        assert check.grow(HASHES[lo : lo + 100], {}, root_of(HASHES[: lo + 100]))[0] == []
    wanted = {Node(8, n): root_of(HASHES[256 * n : 256 * n + 256]) for n in (0, 1)}
    assert check.nodes == wanted
    assert node_faults(wanted, wanted) == []
    first, second = node_faults(wanted, {Node(8, 1): bytes(32)})
    assert (first.leaf, second.leaf) == (0, 256)
    assert "node 0 of level 8 is missing, not " in first.detail
    assert f"node 1 of level 8 is {bytes(32).hex()}, not " in second.detail
