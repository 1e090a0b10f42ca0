"""Prices that matter: levels of support and resistance, volume profiles, and the market's regime.

Levels and regimes come from the bars as they were when they ended; profiles from the trades themselves, or
from bars where there are no trades, which is then said.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal as Exact
from decimal import InvalidOperation
from math import isnan
from typing import Annotated

import numpy as np
import orjson
import strawberry

from alphapulse.domain.analysis.fields import CLOSE
from alphapulse.domain.analysis.indicators.regime import NAMES
from alphapulse.domain.analysis.levels import Level as DomainLevel
from alphapulse.domain.analysis.levels import levels as levels_of
from alphapulse.domain.analysis.models import BadModel
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.profile import TooLarge, TooManyBins
from alphapulse.domain.analysis.profile_levels import Node
from alphapulse.domain.analysis.registry import Spec
from alphapulse.domain.market.bars import plain
from alphapulse.domain.market.columns import MAX_EXPONENT
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import DEFAULT_LAST, Info, Timeframe, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.indicators import MAX_ROWS, check_rows, column, rows_asked, span_of
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.scalars import Column, Decimal, Position, Time, decimal_of, parse_time, write_time
from alphapulse.projections import analysis_queries, profile_queries, regime_queries
from alphapulse.projections.analysis_queries import Span
from alphapulse.projections.profile_queries import Session

LEVEL_BARS = 2_000  # that levels are looked for in
DAY = 1_440
_MOST = profile_queries.MAX_SESSIONS


@strawberry.type(description="A price at which the market turned or stopped before.")
class Level:
    kind: str = strawberry.field(
        description="swing_high, swing_low, cluster, prior_day_high … prior_week_close, round.", metadata=READ
    )
    price: float = strawberry.field(description="Quote currency.", metadata=READ)
    side: str = strawberry.field(description="support or resistance.", metadata=READ)
    strength: float = strawberry.field(description="0 to 1.", metadata=READ)
    distance: float | None = strawberry.field(
        description="From the close, in average true ranges; above 0 when the level lies higher.",
        metadata=READ,
    )
    touches: int = strawberry.field(description="Swings at it.", metadata=READ)
    known_time: Time = strawberry.field(description="From when on it was known.", metadata=READ)
    source_position: Position = strawberry.field(metadata=READ)
    reasons: list[str] = strawberry.field(metadata={**READ, "size": 3})


@strawberry.type(description="Levels, from the highest price to the lowest.")
class LevelList:
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    close: float | None = strawberry.field(description="Of the last bar looked at.", metadata=READ)
    bars: int = strawberry.field(description="How many bars were looked at.", metadata=READ)
    levels: list[Level] = strawberry.field(metadata={**READ, "size": 100})


@strawberry.type(description="A price at which much, or little, was traded.")
class VolumeNode:
    price: Decimal = strawberry.field(description="The lowest price of its bin.", metadata=READ)
    volume: Decimal = strawberry.field(description="Base units in that bin.", metadata=READ)
    prominence: float = strawberry.field(
        description="How far it stands out, by the highest bin.", metadata=READ
    )


@strawberry.type(
    description="Traded volume by price in one session. Bins are columns, from the lowest price up; volumes "
    "are exact decimals as strings."
)
class VolumeProfileSession:
    start: Time = strawberry.field(metadata=READ)
    end: Time = strawberry.field(metadata=READ)
    volume: Decimal = strawberry.field(description="Base units.", metadata=READ)
    point_of_control: Decimal = strawberry.field(
        description="The lowest price of the bin with the most volume.", metadata=READ
    )
    value_area_low: Decimal = strawberry.field(metadata=READ)
    value_area_high: Decimal = strawberry.field(
        description="The price at which the value area ends.", metadata=READ
    )
    count: int = strawberry.field(description="How many bins.", metadata=READ)
    prices: Column = strawberry.field(description="The lowest price of each bin.", metadata=READ)
    volumes: Column = strawberry.field(metadata=READ)
    taker_buys: Column = strawberry.field(metadata=READ)
    taker_sells: Column = strawberry.field(metadata=READ)
    trades: Column = strawberry.field(metadata=READ)
    high_nodes: list[VolumeNode] = strawberry.field(metadata={**READ, "size": 10})
    low_nodes: list[VolumeNode] = strawberry.field(metadata={**READ, "size": 10})


@strawberry.type(description="Volume profiles, oldest session first; sessions without a trade are missing.")
class VolumeProfile:
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    exact: bool = strawberry.field(
        description="Made of trades. Else approximated from bars, their volume spread over their range.",
        metadata=READ,
    )
    bin_size: Decimal | None = strawberry.field(description="Quote currency.", metadata=READ)
    sessions: list[VolumeProfileSession] = strawberry.field(metadata={**READ, "size": "page"})


@strawberry.type(description="The regime at each bar by rules that can be read; see docs/regimes.md.")
class RegimeSeries:
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    count: int = strawberry.field(metadata=READ)
    current: str | None = strawberry.field(description="At the last bar.", metadata=READ)
    start: Column = strawberry.field(description="Open times, ms since 1970 UTC.", metadata=READ)
    regime: Column = strawberry.field(
        description="trend_up, trend_down, range, turbulence; null while nobody can tell.", metadata=READ
    )
    columns: list["RegimeColumn"] = strawberry.field(
        description="The values that decided.", metadata={**READ, "size": 8}
    )


@strawberry.type(
    description="Probabilities of a fitted model's states at each bar, the calmest state first. Each bar is "
    "scored by the newest version that was fitted on bars known before it."
)
class HiddenRegimeSeries:
    instrument: str = strawberry.field(metadata=READ)
    timeframe: Timeframe = strawberry.field(metadata=READ)
    model: str = strawberry.field(metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    count: int = strawberry.field(metadata=READ)
    start: Column = strawberry.field(description="Open times, ms since 1970 UTC.", metadata=READ)
    versions: Column = strawberry.field(description="Of the model; 0: none yet.", metadata=READ)
    states: list["RegimeColumn"] = strawberry.field(metadata={**READ, "size": 4})


@strawberry.type(description="One of the values that decide on the regime.")
class RegimeColumn:
    name: str = strawberry.field(metadata=READ)
    values: Column = strawberry.field(metadata=READ)


def _json(values: Sequence[str | int | None]) -> Column:
    return Column(orjson.Fragment(orjson.dumps(values)))


def _decimals(values: Sequence[Exact]) -> Column:
    """A JSON array of exact decimals, as strings."""
    return _json([decimal_of(plain(value)) for value in values])


def _level(level: DomainLevel) -> Level:
    return Level(
        kind=level.kind,
        price=level.price,
        side=level.side,
        strength=level.strength,
        distance=None if isnan(level.distance) else level.distance,
        touches=level.touches,
        known_time=Time(level.known_time),
        source_position=Position(level.position),
        reasons=list(level.reasons),
    )


def _session(found: Session, minutes: int) -> VolumeProfileSession:
    profile, area = found.profile, found.area
    prices = profile.prices

    def texts(units: list[int]) -> Column:
        return _decimals([profile.quantity(value) for value in units])

    def node(of: Node) -> VolumeNode:
        return VolumeNode(
            price=decimal_of(plain(prices[of.bin])),
            volume=decimal_of(plain(profile.quantity(of.volume))),
            prominence=of.prominence_ratio,
        )

    return VolumeProfileSession(
        start=Time(found.start * MINUTE_NS),
        end=Time((found.start + minutes) * MINUTE_NS),
        volume=decimal_of(plain(profile.quantity(profile.total))),
        point_of_control=decimal_of(plain(prices[found.control])),
        value_area_low=decimal_of(plain(prices[area.low])),
        value_area_high=decimal_of(plain(prices[area.high] + profile.grid.size)),
        count=len(profile),
        prices=_decimals(prices),
        volumes=texts(profile.volume),
        taker_buys=texts(profile.taker_buy),
        taker_sells=texts(profile.taker_sell),
        trades=_json(profile.trades),
        high_nodes=[node(each) for each in found.high_nodes],
        low_nodes=[node(each) for each in found.low_nodes],
    )


def _sessions_asked(arguments: Arguments) -> int:
    """How many sessions the answer may have, for its cost; what cannot be read counts in full."""
    try:
        span_minutes = (parse_time(arguments["to"]) - parse_time(arguments["from"])) // MINUTE_NS
        return min(max(span_minutes // int(arguments.get("sessionMinutes", DAY)), 0) + 1, _MOST)
    except (UserError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return _MOST


def _decimals_of(value: Exact) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "a finite number has one"
    return -exponent


def _positive(text: str | None, name: str) -> Exact | None:
    if text is None:
        return None
    try:
        value = Exact(text)
    except InvalidOperation:
        raise UserError(f"{name} {text!r} is no decimal number") from None
    # A few characters can name a number of a billion digits.
    if (
        not value.is_finite()
        or value <= 0
        or value.adjusted() > MAX_EXPONENT
        or _decimals_of(value) > MAX_EXPONENT
    ):
        raise UserError(
            f"{name} {text[:40]!r} needs 1e-{MAX_EXPONENT} to 1e{MAX_EXPONENT}, in steps of the first"
        )
    return value


@strawberry.type
class LevelQuery:
    @strawberry.field(
        description="Levels of support and resistance known at the end of the last bar (of `asOf`): swing "
        f"points, clusters of them, prior day and week, round numbers. From the last {LEVEL_BARS:,} bars.",
        metadata={**READ, "size": 20},
    )
    async def levels(
        self, info: Info, instrument: str, timeframe: Timeframe, as_of: AsOf | None = None
    ) -> LevelList:
        services, name = info.context.services, known_instrument(instrument)
        position = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            bars, _, position = await analysis_queries.bars_with_lead(
                db, name, timeframe.value, Span(last=LEVEL_BARS), lead=0, as_of=position
            )
        if not len(bars):
            return LevelList(position=Position(position), close=None, bars=0, levels=[])
        atr = (await asyncio.to_thread(compute, [Spec.of("atr")], bars.values))[0]
        found = await asyncio.to_thread(levels_of, bars, atr)
        return LevelList(
            position=Position(position),
            close=float(bars.values[CLOSE, -1]),
            bars=len(bars),
            levels=[_level(each) for each in found],
        )

    @strawberry.field(
        description="Traded volume by price, session by session (`sessionMinutes`, a day unless given, "
        "counted from `from`). Exact from trades; where only bars are known it is approximated and says so. "
        "Without `binSize` the smallest round size with at most `bins` bins.",
        metadata={**READ, "size": _sessions_asked},
    )
    async def volume_profile(
        self,
        info: Info,
        instrument: str,
        from_: Annotated[Time, strawberry.argument(name="from")],
        to: Time,
        session_minutes: int = DAY,
        bin_size: str | None = None,
        bins: int = 100,
        value_percent: int = 70,
        as_of: AsOf | None = None,
    ) -> VolumeProfile:
        if from_ >= to:
            raise UserError(f"from {write_time(from_)} is not before to {write_time(to)}")
        if not 2 <= bins <= profile_queries.MAX_BINS:
            raise UserError(f"bins {bins} needs 2 to {profile_queries.MAX_BINS}")
        if not 1 <= value_percent <= 100:
            raise UserError(f"valuePercent {value_percent} needs 1 to 100")
        if session_minutes < 1:
            raise UserError(f"sessionMinutes {session_minutes} needs 1 or more")
        services, name = info.context.services, known_instrument(instrument)
        position, size = await position_of(services.store, as_of), _positive(bin_size, "binSize")
        try:
            async with answered(), services.reads.connection() as db:
                found = await profile_queries.profiles(
                    db, services.history, name, start=from_, end=to, minutes=session_minutes, bin_size=size,
                    bins=bins, percent=value_percent, as_of=position,
                )  # fmt: skip
        except (TooManyBins, TooLarge) as error:
            raise UserError(str(error)) from None
        sizes = [session.profile.grid.size for session in found.sessions]
        return VolumeProfile(
            position=Position(found.position),
            exact=found.exact,
            bin_size=decimal_of(plain(sizes[0])) if sizes else None,
            sessions=[_session(session, session_minutes) for session in found.sessions],
        )

    @strawberry.field(
        description="The regime at bars that begin in [`from`, `to`), of those the `last` ones; "
        f"without `from` and `last` the last {DEFAULT_LAST}.",
        metadata={**READ, "size": rows_asked},
    )
    async def regime(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        as_of: AsOf | None = None,
    ) -> RegimeSeries:
        services, name, spec = info.context.services, known_instrument(instrument), Spec.of("regime")
        span, position = span_of(from_, to, last), await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            found = check_rows(
                await analysis_queries.indicators(db, name, timeframe.value, [spec], span, as_of=position)
            )
        codes = found.values[0]
        names = [None if np.isnan(code) else NAMES[code] for code in codes.tolist()]
        return RegimeSeries(
            instrument=name,
            timeframe=timeframe,
            position=Position(found.position),
            count=len(names),
            current=names[-1] if names else None,
            start=column(found.bars.start * 60_000),
            regime=_json(names),
            columns=[
                RegimeColumn(name=output.name, values=column(values))
                for output, values in zip(spec.known.outputs, found.values, strict=True)
            ],
        )

    @strawberry.field(
        description="The hidden regime of a fitted `model` (see `alphapulse regimes fit`) at bars that begin "
        f"in [`from`, `to`), of those the `last` ones; without `from` and `last` the last {DEFAULT_LAST}.",
        metadata={**READ, "size": rows_asked},
    )
    async def hidden_regime(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        model: str,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        as_of: AsOf | None = None,
    ) -> HiddenRegimeSeries:
        services, name = info.context.services, known_instrument(instrument)
        span, position = span_of(from_, to, last), await position_of(services.store, as_of)
        try:
            async with answered(), services.reads.connection() as db:
                found = await regime_queries.hidden_regimes(
                    db, services.store, services.decode, name, timeframe.value, model, span, as_of=position
                )
        except (regime_queries.NoSuchModel, BadModel) as error:
            raise UserError(str(error.args[0])) from None
        if len(found.bars) > MAX_ROWS:
            raise UserError(f"{len(found.bars)} bars, the limit is {MAX_ROWS}: ask for fewer")
        return HiddenRegimeSeries(
            instrument=name,
            timeframe=timeframe,
            model=model,
            position=Position(found.position),
            count=len(found.bars),
            start=column(found.bars.start * 60_000),
            versions=column(found.versions),
            states=[
                RegimeColumn(name=f"state_{i}", values=column(values))
                for i, values in enumerate(found.probabilities.T)
            ],
        )
