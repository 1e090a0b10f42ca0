"""Risk of what is open: exposure, value at risk and expected shortfall of a strategy's signals."""

import strawberry

from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import Info, Timeframe
from alphapulse.graphql.errors import UserError
from alphapulse.projections import risk_queries
from alphapulse.projections.risk_queries import MAX_BARS, RiskReport

DEFAULT_BARS = 2_000


@strawberry.type(description="A loss as a share of the equity, over the horizon, in the worst cases.")
class TailRisk:
    method: str = strawberry.field(description="historical or bootstrap.", metadata=READ)
    confidence: float = strawberry.field(metadata=READ)
    value_at_risk: float = strawberry.field(
        description="Not exceeded with this confidence; under 0 where even that earns.", metadata=READ
    )
    expected_shortfall: float = strawberry.field(description="Mean of what lies beyond.", metadata=READ)
    losses: int = strawberry.field(description="How many it is told from.", metadata=READ)


@strawberry.type(description="Signed exposure in one market, as a share of the equity.")
class MarketExposure:
    instrument: strawberry.ID = strawberry.field(metadata=READ)
    share: float = strawberry.field(metadata=READ)


@strawberry.type(description="What the open signals of a strategy may lose.")
class Risk:
    open_signals: int = strawberry.field(metadata=READ)
    closed_signals: int = strawberry.field(metadata=READ)
    equity: float = strawberry.field(description="1 at the beginning.", metadata=READ)
    gross: float | None = strawberry.field(
        description="Notional of all, as a share of equity.", metadata=READ
    )
    net: float | None = strawberry.field(description="Long less short.", metadata=READ)
    at_stops: float | None = strawberry.field(description="Lost if all are stopped out.", metadata=READ)
    markets: list[MarketExposure] = strawberry.field(metadata={**READ, "size": 50})
    tails: list[TailRisk] = strawberry.field(metadata={**READ, "size": 4})
    rows: int = strawberry.field(description="Common bars that the tails look at.", metadata=READ)
    note: str | None = strawberry.field(description="Why there are no tails.", metadata=READ)


def risk(found: RiskReport) -> Risk:
    exposure = found.exposure
    return Risk(
        open_signals=len(found.book.open),
        closed_signals=found.book.closed,
        equity=found.book.equity,
        gross=exposure.gross if exposure else None,
        net=exposure.net if exposure else None,
        at_stops=exposure.at_stops if exposure else None,
        markets=[
            MarketExposure(instrument=strawberry.ID(market), share=share)
            for market, share in (exposure.by_instrument.items() if exposure else ())
        ],
        tails=[
            TailRisk(
                method=tail.method,
                confidence=tail.confidence,
                value_at_risk=tail.value_at_risk,
                expected_shortfall=tail.expected_shortfall,
                losses=tail.losses,
            )
            for tail in found.tails
        ],
        rows=found.rows,
        note=found.note or None,
    )


@strawberry.type
class RiskQuery:
    @strawberry.field(
        description="Exposure, value at risk and expected shortfall of a strategy's open signals over "
        "`horizonBars` bars of `timeframe` (H1 unless given), from the last `bars` common ones.",
        metadata={**READ, "size": 100},
    )
    async def risk(
        self,
        info: Info,
        strategy: str,
        timeframe: Timeframe | None = None,
        horizon_bars: int = 24,
        bars: int = DEFAULT_BARS,
        as_of: AsOf | None = None,
    ) -> Risk:
        if not 2 <= bars <= MAX_BARS:
            raise UserError(f"bars {bars} needs 2 to {MAX_BARS}")
        if not 1 <= horizon_bars <= bars:
            raise UserError(f"horizonBars {horizon_bars} needs 1 to bars {bars}")
        services = info.context.services
        position = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            found = await risk_queries.risk_of(
                services.store,
                services.decode,
                db,
                strategy,
                timeframe=(timeframe or Timeframe.H1).value,
                horizon_bars=horizon_bars,
                bars=bars,
                as_of=position,
            )
        return risk(found)
