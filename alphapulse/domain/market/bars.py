"""Finished and open bars as exact values: merged, averaged, and filled where a query asks for it.

Prices and volumes are Decimals without trailing zeros. Minutes count from 1970 UTC; a bar of
``timeframe`` minutes is stamped by its first minute. Filled bars are inventions of a query: the store has
none, and each says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from enum import Enum

from alphapulse.domain.market.timeframes import bar_start

VWAP_DECIMALS = 18  # the finest a price can have
_PRECISION = 120  # digits: products and sums of what the log can hold stay exact
_EXACT = Context(prec=_PRECISION)


class Fill(Enum):
    """What stands for a bar in which nothing was traded."""

    EMPTY = "empty"
    PREVIOUS = "previous"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of ``candles``, or a filled one. Prices are None only in a filled one."""

    start: int
    timeframe: int
    source: int
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    base_volume: Decimal | None
    quote_volume: Decimal | None
    taker_buy_volume: Decimal | None
    trade_count: int | None
    open_time: int
    open_id: int
    close_time: int
    close_id: int
    minutes: int
    revision: int
    flags: int
    position: int
    filled: bool = False

    @property
    def vwap(self) -> Decimal | None:
        """Quote volume by base volume, rounded half up to 18 decimals; None without trades."""
        if not self.base_volume or self.quote_volume is None:
            return None
        with localcontext(prec=_PRECISION) as context:
            scaled = (self.quote_volume * 2).scaleb(VWAP_DECIMALS) + self.base_volume
            units = context.divide_int(scaled, self.base_volume * 2)
            return plain(units.scaleb(-VWAP_DECIMALS))


def plain(value: Decimal) -> Decimal:
    """``value`` without trailing zeros behind the point, never in powers of ten."""
    with localcontext(prec=_PRECISION):
        trimmed = value.normalize()
        return trimmed.quantize(Decimal(1)) if trimmed.as_tuple().exponent > 0 else trimmed  # type: ignore[operator]


def exact(mantissa: int, exponent: int) -> Decimal:
    """mantissa * 10**-exponent, without trailing zeros."""
    while exponent > 0 and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent - 1
    return Decimal(mantissa) if exponent == 0 else Decimal(mantissa).scaleb(-exponent, _EXACT)


def merged(bars: Sequence[Bar], timeframe: int) -> Bar:
    """Bars built from trades as one larger bar. Their revisions do not add up: the caller counts them."""
    first = min(bars, key=lambda b: (b.open_time, b.open_id))
    last = max(bars, key=lambda b: (b.close_time, b.close_id))
    flags = 0
    for bar in bars:
        flags |= bar.flags
    return Bar(
        start=int(bar_start(bars[0].start, timeframe)),
        timeframe=timeframe,
        source=bars[0].source,
        open=first.open,
        high=max(b.high for b in bars if b.high is not None),
        low=min(b.low for b in bars if b.low is not None),
        close=last.close,
        base_volume=_total([b.base_volume for b in bars]),
        quote_volume=_total([b.quote_volume for b in bars]),
        taker_buy_volume=_total([b.taker_buy_volume for b in bars]),
        trade_count=_count([b.trade_count for b in bars]),
        open_time=first.open_time,
        open_id=first.open_id,
        close_time=last.close_time,
        close_id=last.close_id,
        minutes=sum(b.minutes for b in bars),
        revision=sum(b.revision for b in bars),
        flags=flags,
        position=max(b.position for b in bars),
    )


def _total(values: Sequence[Decimal | None]) -> Decimal | None:
    """The exact sum; None when a part is unknown."""
    known = [v for v in values if v is not None]
    with localcontext(prec=_PRECISION):
        return plain(sum(known, Decimal(0))) if len(known) == len(values) else None


def _count(values: Sequence[int | None]) -> int | None:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None


def filled(
    bars: Mapping[int, Bar],
    starts: Sequence[int],
    timeframe: int,
    fill: Fill,
    *,
    before: Bar | None = None,
    after: Bar | None = None,
) -> Iterator[Bar]:
    """A bar for each of ``starts``, ascending and without holes; ``before`` and ``after`` are the neighbours.

    PREVIOUS repeats the last close; LINEAR draws a line from the last close to the next open, which only
    a later moment knows: never feed it to a decision. Where a neighbour is missing, prices are None. EMPTY
    leaves volumes and counts None as well; the others make them 0.
    """
    following = _following(bars, starts, after)
    last = before
    for start, coming in zip(starts, following, strict=True):
        bar = bars.get(start)
        if bar is not None:
            last = bar
            yield bar
        else:
            price = _price(start, timeframe, fill, last, coming)
            yield _stand_in(start, timeframe, price, None if fill is Fill.EMPTY else 0)


def _following(bars: Mapping[int, Bar], starts: Sequence[int], after: Bar | None) -> list[Bar | None]:
    """For each start the next bar that is there."""
    found: list[Bar | None] = []
    for start in reversed(starts):
        after = bars.get(start, after)
        found.append(after)
    return found[::-1]


def _price(start: int, timeframe: int, fill: Fill, last: Bar | None, coming: Bar | None) -> Decimal | None:
    if fill is Fill.EMPTY or last is None or last.close is None:
        return None
    if fill is Fill.PREVIOUS:
        return last.close
    if coming is None or coming.open is None:
        return None
    with localcontext(prec=_PRECISION):
        share = Decimal((start - last.start) // timeframe) / ((coming.start - last.start) // timeframe)
        price = last.close + (coming.open - last.close) * share
        # Two digits finer than the finer neighbour: it is no price that anybody paid.
        finest = min(p.as_tuple().exponent for p in (last.close, coming.open))
        return plain(price.quantize(Decimal(1).scaleb(int(finest) - 2)))


def _stand_in(start: int, timeframe: int, price: Decimal | None, count: int | None) -> Bar:
    volume = None if count is None else Decimal(count)
    return Bar(
        start=start,
        timeframe=timeframe,
        source=0,
        open=price,
        high=price,
        low=price,
        close=price,
        base_volume=volume,
        quote_volume=volume,
        taker_buy_volume=volume,
        trade_count=count,
        open_time=0,
        open_id=0,
        close_time=0,
        close_id=0,
        minutes=0,
        revision=0,
        flags=0,
        position=0,
        filled=True,
    )
