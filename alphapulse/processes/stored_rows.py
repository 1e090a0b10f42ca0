"""Rows of a feature set as the live read model holds them, however many there are."""

from collections.abc import AsyncIterator
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.processes.computing import Wanted
from alphapulse.projections.feature_queries import FeatureSet, feature_instruments, feature_page, feature_set

PAGE_ROWS = 20_000


async def stored_rows(conn: AsyncConnection[Any], wanted: Wanted) -> AsyncIterator[FeatureRows]:
    """The rows of ``wanted``, series by series, in pages. Rows never change, so no snapshot is needed.

    Raises:
        NotYetFolded: the read model has not come as far as ``wanted.until``.
    """
    defined = wanted.defined
    found = await feature_set(conn, defined.name, defined.version, as_of=wanted.until)
    instruments = wanted.instruments or await feature_instruments(conn)
    for instrument in sorted(instruments):
        for timeframe in sorted(wanted.timeframes or defined.timeframes):
            async for page in _pages(conn, found, wanted, instrument, timeframe):
                yield page


async def _pages(
    conn: AsyncConnection[Any], found: FeatureSet, wanted: Wanted, instrument: str, timeframe: int
) -> AsyncIterator[FeatureRows]:
    first = wanted.first_start or 0
    while True:
        rows = await feature_page(
            conn, found, instrument, timeframe, first_start=first, until=wanted.until, limit=PAGE_ROWS
        )
        if not len(rows):
            return
        chosen = wanted.chosen(rows)
        if len(chosen):
            yield chosen
        first = int(rows.start[-1]) + 1
