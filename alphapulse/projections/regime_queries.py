"""Regimes at the known bars under fitted models: each bar by the newest version it may know.

Source: the table known_bars, and models.fitted.v1. A version scores only bars known after its training.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.hidden_regimes import score
from alphapulse.domain.ports import Decode, EventStore
from alphapulse.projections.analysis_queries import Span, bars_with_lead
from alphapulse.projections.model_log import fitted_models


class NoSuchModel(LookupError):
    """No version of it was fitted by then, or it is of another market or timeframe."""


@dataclass(frozen=True, slots=True, eq=False)
class HiddenRegimes:
    """``probabilities`` (bars, states), calmest state first; NaN, and version 0, before the first model."""

    bars: Bars
    versions: Int64s
    probabilities: Floats
    position: int


async def hidden_regimes(
    conn: AsyncConnection[Any],
    store: EventStore,
    decode: Decode,
    instrument: str,
    timeframe: int,
    model: str,
    span: Span,
    *,
    as_of: int | None = None,
) -> HiddenRegimes:
    """Probabilities of the states of ``model`` at the bars of ``span``, as known at ``as_of``.

    Raises:
        NoSuchModel, BadModel: there is none of that name for this market, as of then.
        QueryTooLarge: the market has too many bars before the span.
        NotYetFolded: ``as_of`` lies ahead.
    """
    # A filter has a beginning: bars from the first one on, so that every answer is the same.
    bars, lead, position = await bars_with_lead(conn, instrument, timeframe, span, lead=None, as_of=as_of)
    models = await fitted_models(store, decode, model, as_of=position)
    if not models:
        raise NoSuchModel(f"no model {model!r} was fitted by position {position}")
    of = models[0][1]
    if (of.instrument, of.timeframe) != (instrument, timeframe):
        raise NoSuchModel(f"model {model!r} is of {of.instrument} in {of.timeframe} minutes")
    scored = await asyncio.to_thread(score, models, bars)
    return HiddenRegimes(
        bars.take(slice(lead, None)), scored.version[lead:], scored.probabilities[lead:], position
    )
