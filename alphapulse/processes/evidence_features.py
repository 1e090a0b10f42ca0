"""What the features read model has of the bar that was decided on: values beside the definition of their set.

They are derived, not committed: anybody with the definition and the market may derive them again.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection

from alphapulse.adapters.database import connection_info
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.projections.feature_queries import FeatureSet, feature_rows, feature_sets


@dataclass(frozen=True, slots=True, kw_only=True)
class SetValues:
    """One set's row of the bar. ``position`` of the set's definition; a value is None before its warm-up."""

    name: str
    version: int
    digest: str
    position: int
    known_time: int  # ns
    values: dict[str, float | None]


FeaturesOf = Callable[[DecisionMade], Awaitable[Sequence[SetValues]]]


async def no_features(_: DecisionMade) -> Sequence[SetValues]:
    return ()


def features_of(database_url: str) -> FeaturesOf:
    """Looks them up in the read model of a database, as far as it was folded."""

    async def look(made: DecisionMade) -> Sequence[SetValues]:
        info = connection_info(database_url, role=None)
        async with await AsyncConnection.connect(info, autocommit=True) as db:
            found = []
            for each in await feature_sets(db):
                its = each.defined
                if made.timeframe not in its.timeframes or each.problem is not None:
                    continue
                bar = {"start": made.bar_start, "end": made.bar_start + 1}
                _, rows = await feature_rows(
                    db, its.name, its.version, made.instrument, made.timeframe, **bar
                )
                if len(rows):
                    found.append(_values(each, rows.values[0].tolist(), int(rows.known_time[0])))
            return found

    return look


def _values(of: FeatureSet, values: Sequence[float], known_time: int) -> SetValues:
    its = of.defined
    named = zip((feature.name for feature in its.features), values, strict=True)
    return SetValues(
        name=its.name,
        version=its.version,
        digest=its.digest,
        position=of.position,
        known_time=known_time,
        values={name: value if math.isfinite(value) else None for name, value in named},
    )
