"""How markets move together: correlation of returns, and rolling beta to a base such as bitcoin."""

import asyncio
from enum import Enum

import strawberry

from alphapulse.domain.analysis.correlation import (
    MIN_SAMPLE,
    Correlations,
    NotComparable,
    Rolling,
    aligned_returns,
    correlations,
    rolling_beta,
)
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info, Timeframe, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.indicators import column
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.scalars import Column, Position
from alphapulse.projections.candle_view import snapshot
from alphapulse.projections.known_bars import known_bars, known_position

MAX_COMPARED = 50  # instruments
MAX_LAST = 5_000  # bars of each
DEFAULT_LAST = 500


@strawberry.enum(description="Pearson's, or Spearman's of the ranks.")
class CorrelationMethod(Enum):
    PEARSON = "pearson"
    SPEARMAN = "spearman"


@strawberry.type(description="One instrument against all, in the order of `instruments`.")
class CorrelationRow:
    instrument: str = strawberry.field(metadata=READ)
    values: Column = strawberry.field(
        description="Null where too few returns are there, or nothing moved.", metadata=READ
    )
    counts: Column = strawberry.field(description="Returns that both have.", metadata=READ)


@strawberry.type(description="One instrument's rolling beta and correlation to the base, oldest first.")
class RollingBeta:
    instrument: str = strawberry.field(metadata=READ)
    base: str = strawberry.field(metadata=READ)
    window: int = strawberry.field(metadata=READ)
    start: Column = strawberry.field(description="Open times, ms since 1970 UTC.", metadata=READ)
    beta: Column = strawberry.field(metadata=READ)
    correlation: Column = strawberry.field(metadata=READ)


@strawberry.type(
    description="Correlations of log returns over one bar; a return needs the bar just before it. Pairs are "
    "compared on the bars that both have."
)
class CorrelationMatrix:
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    method: CorrelationMethod = strawberry.field(metadata=READ)
    instruments: list[str] = strawberry.field(metadata={**READ, "size": 1})
    bars: int = strawberry.field(description="Open times that were looked at.", metadata=READ)
    rows: list[CorrelationRow] = strawberry.field(metadata={**READ, "size": "page"})
    betas: list[RollingBeta] = strawberry.field(
        description="To `base`, where it was given.", metadata={**READ, "size": "page"}
    )


def _compared(arguments: Arguments) -> int:
    names = arguments.get("instruments")
    return min(len(names), MAX_COMPARED) if isinstance(names, list) else MAX_COMPARED


def _rows(found: Correlations) -> list[CorrelationRow]:
    return [
        CorrelationRow(instrument=name, values=column(values), counts=column(counts))
        for name, values, counts in zip(found.instruments, found.values, found.count, strict=True)
    ]


def _beta(name: str, base: str, window: int, found: Rolling) -> RollingBeta:
    return RollingBeta(
        instrument=name,
        base=base,
        window=window,
        start=column(found.start * 60_000),
        beta=column(found.beta),
        correlation=column(found.correlation),
    )


@strawberry.type
class CorrelationQuery:
    @strawberry.field(
        description=f"Correlations between 2 to {MAX_COMPARED} instruments over their last bars (`last`, "
        f"{DEFAULT_LAST} unless given). PEARSON unless `method` says otherwise. With `base`, one of them, "
        "also each one's beta to it over `window` returns. Pairs with fewer than `minimum` common returns "
        "have none.",
        metadata={**READ, "size": _compared},
    )
    async def correlation(
        self,
        info: Info,
        instruments: list[str],
        timeframe: Timeframe,
        last: int = DEFAULT_LAST,
        method: CorrelationMethod | None = None,
        base: str | None = None,
        window: int = 100,
        minimum: int = MIN_SAMPLE,
        as_of: AsOf | None = None,
    ) -> CorrelationMatrix:
        names = list(dict.fromkeys(known_instrument(name) for name in instruments))
        if not 2 <= len(names) <= MAX_COMPARED:
            raise UserError(f"{len(names)} instruments: 2 to {MAX_COMPARED} different ones are needed")
        if not 2 <= last <= MAX_LAST or not 2 <= window <= last or minimum < 2:
            raise UserError(
                f"last {last} needs 2 to {MAX_LAST}, window {window} 2 to last, minimum {minimum} 2 or more"
            )
        way = CorrelationMethod.PEARSON if method is None else method
        services, position = info.context.services, await position_of(info.context.services.store, as_of)
        async with answered(), services.reads.connection() as db, snapshot(db):
            reached = await known_position(db) if position is None else position
            bars = {
                name: await known_bars(db, name, timeframe.value, last=last, as_of=position) for name in names
            }
        try:
            returns = await asyncio.to_thread(aligned_returns, bars, last=last)
            matrix = await asyncio.to_thread(correlations, returns, method=way.value, minimum=minimum)
            betas = [
                _beta(name, root, window, rolling_beta(returns, name, root, window=window))
                for root in ([] if base is None else [known_instrument(base)])
                for name in names
                if name != root
            ]
        except NotComparable as error:
            raise UserError(str(error)) from None
        return CorrelationMatrix(
            position=Position(reached),
            timeframe=timeframe,
            method=way,
            instruments=names,
            bars=len(returns.start),
            rows=_rows(matrix),
            betas=betas,
        )
