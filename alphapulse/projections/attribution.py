"""Read model: what each vote made of every candidate, by its Shapley value.

Source: DecisionMade. Rebuild with ``alphapulse projections rebuild attribution``. Rows never change. The
table is in performance_tables.py, the questions in attribution_queries.py.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection
from sqlalchemy import Table

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.performance.attribution import VoteShare, shares_of
from alphapulse.domain.ports import Recorded
from alphapulse.projections import binary_rows as wire
from alphapulse.projections.performance_tables import vote_shares
from alphapulse.projections.read_model import Folded

Changes = Sequence[tuple[int, DecisionMade, Sequence[VoteShare]]]

# Arrays of arrays must be of one length in SQL: what belongs to votes comes end to end, cut where each ends.
_INSERT: LiteralString = (
    "INSERT INTO vote_shares (decision, strategy, position, is_exact, voters, patterns, shares, without)"
    " SELECT decision, strategy, position, is_exact = 1, voters[first:last], patterns[first:last],"
    " shares[first:last], without[first:last]"
    " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
    " AS rows (decision, strategy, position, is_exact, first, last),"
    " (SELECT %s::text[] AS voters, %s::text[] AS patterns, %s::float8[] AS shares, %s::float8[] AS without)"
    " AS votes ON CONFLICT DO NOTHING"
)


class Attribution:
    """See the module."""

    name = "attribution"
    code_version = 1
    names = frozenset({"decision.made.v1"})
    tables: Sequence[Table] = (vote_shares,)
    partitioned = True
    commutes = True

    async def load(self, db: AsyncConnection[Any]) -> None:
        """Nothing has to be known of earlier events."""

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Changes]:
        return Folded(state, [_credited(recorded) for recorded in events], {})

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        votes = [vote for _, _, credited in changes for vote in credited]
        first, last, ends = list[int](), list[int](), 0
        for _, _, credited in changes:
            first.append(ends + 1)
            ends += len(credited)
            last.append(ends)
        values = (
            wire.text_array([made.decision for _, made, _ in changes]),
            wire.text_array([made.strategy for _, made, _ in changes]),
            wire.int8_array([position for position, _, _ in changes]),
            wire.int8_array([all(vote.is_exact for vote in credited) for _, _, credited in changes]),
            wire.int8_array(first),
            wire.int8_array(last),
            wire.text_array([vote.voter for vote in votes]),
            wire.text_array([vote.pattern for vote in votes]),
            wire.float8_array([vote.share for vote in votes]),
            wire.float8_array([vote.without for vote in votes]),
        )
        await db.execute(_INSERT, values)


def _credited(recorded: Recorded) -> tuple[int, DecisionMade, Sequence[VoteShare]]:
    made = recorded.event
    if not isinstance(made, DecisionMade):
        raise TypeError(f"{made!r} is nothing that attribution is made of")
    return recorded.position, made, shares_of(made)
