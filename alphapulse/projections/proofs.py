"""Proofs out of a sealed log: what ``merkle`` plans, made of the nodes that the log keeps.

A proof asks the log once, whatever its length. What a node is never changes, so a tree that grows meanwhile
does no harm.
"""

from collections.abc import Sequence

from alphapulse.domain.provenance.merkle import (
    consistency_ranges,
    cover,
    fold,
    inclusion_ranges,
)
from alphapulse.domain.provenance.sealing import SealedLog


async def inclusion_proof(log: SealedLog, leaf: int, size: int) -> Sequence[bytes]:
    """The hashes that show ``leaf`` in the tree of ``size`` leaves, from the leaf up (RFC 6962, 2.1.1).

    Raises:
        ValueError: there is no such leaf in a tree of that size.
        KeyError: the log is not sealed so far; says which node is not there.
    """
    return await _hashes(log, inclusion_ranges(leaf, size))


async def consistency_proof(log: SealedLog, old: int, new: int) -> Sequence[bytes]:
    """The hashes that show the tree of ``old`` leaves at the beginning of that of ``new`` (RFC 6962, 2.1.2).

    None of them where ``old`` is 0 or ``new``.

    Raises:
        ValueError: ``old`` is more than ``new``.
        KeyError: the log is not sealed so far; says which node is not there.
    """
    return await _hashes(log, consistency_ranges(old, new))


async def range_nodes(log: SealedLog, lo: int, hi: int) -> Sequence[bytes]:
    """The hashes of ``merkle.cover(lo, hi)``: what stands for these leaves where they are left out.

    Raises:
        ValueError: no range goes from ``lo`` to ``hi``.
        KeyError: the log is not sealed so far; says which node is not there.
    """
    wanted = cover(lo, hi)
    found = await log.nodes(wanted) if wanted else {}
    return [found[node] for node in wanted]


async def _hashes(log: SealedLog, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
    covers = [cover(lo, hi) for lo, hi in ranges]
    wanted = [node for nodes in covers for node in nodes]
    found = await log.nodes(wanted) if wanted else {}
    return [fold([found[node] for node in nodes]) for nodes in covers]
