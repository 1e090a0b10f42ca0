"""How far anchors are behind the log's checkpoints, for health: from their receipts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

LOOKED_AT = 10_000  # of the newest receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorStatus:
    """``lag_s``: age of the first checkpoint that is larger than what ``anchor`` has a receipt for."""

    anchor: str
    size: int  # leaves of the newest checkpoint with a receipt; 0: none among the last 10,000 receipts
    lag_leaves: int
    lag_s: float


async def read(db: AsyncConnection[Any], anchors: Sequence[str]) -> Sequence[AnchorStatus]:
    """How far each of ``anchors`` is just now."""
    if not anchors:
        return []
    cursor = await db.execute(
        "WITH held AS (SELECT anchor, max(size) AS size FROM "
        "  (SELECT anchor, size FROM log_receipts ORDER BY size DESC LIMIT %s) r GROUP BY anchor) "
        "SELECT a.name, coalesce(h.size, 0), coalesce(n.size, 0) - coalesce(h.size, 0), "
        "  coalesce(extract(epoch FROM clock_timestamp() - f.sealed_at), 0)::float8 "
        "FROM unnest(%s::text[]) WITH ORDINALITY a (name, nth) LEFT JOIN held h ON h.anchor = a.name "
        "LEFT JOIN LATERAL (SELECT size FROM log_seals ORDER BY size DESC LIMIT 1) n ON true "
        "LEFT JOIN LATERAL (SELECT sealed_at FROM log_seals s WHERE s.size > coalesce(h.size, 0) "
        "  ORDER BY s.size LIMIT 1) f ON true ORDER BY a.nth",
        (LOOKED_AT, list(anchors)),
    )
    return [
        AnchorStatus(anchor=name, size=size, lag_leaves=leaves, lag_s=max(lag_s, 0.0))
        for name, size, leaves, lag_s in await cursor.fetchall()
    ]
