"""Stored payloads as JSON that anybody can read: what an export shows beside the stored bytes.

Events that are stored as JSON are shown as they are stored. Columns of trades, bars and funding rates become
lists: prices, sizes, volumes and rates as exact decimals with as many places as the column has, 64-bit
numbers as digits, sides, flags and hours as numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from alphapulse.adapters.store import columnar
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.fundamentals import FundingObserved
from alphapulse.domain.ports import UndecodableEvent


def decoded(state: bytes) -> bytes | None:
    """The payload as one line of JSON; None where it is damaged or of a kind that is not known."""
    if (build := _COLUMNAR.get(state[:2])) is not None:
        try:
            return build(state)
        except UndecodableEvent:
            return None
    try:
        msgspec.json.decode(state)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # or nested by the thousand
        return None
    return msgspec.json.format(state, indent=-1) if b"\n" in state or b"\r" in state else state


def _trades(state: bytes) -> bytes:
    event: TradesObserved = columnar.decode_trades(state)
    c = event.columns
    return _object(
        {"venue": event.instrument.venue, "symbol": event.instrument.symbol},
        {
            "time": _digits(c.time),
            "price": _decimals(c.price, c.price_exponent),
            "size": _decimals(c.size, c.size_exponent),
            "side": _numbers(c.side),
            "id": _digits(c.id),
            "flags": _numbers(c.flags),
        },
    )


def _bars(state: bytes) -> bytes:
    event: BarsObserved = columnar.decode_bars(state)
    c = event.columns
    return _object(
        {
            "venue": event.instrument.venue,
            "symbol": event.instrument.symbol,
            "timeframe_minutes": event.timeframe_minutes,
            "volume_unit": event.volume_unit,
        },
        {
            "start": _digits(c.start),
            "open": _decimals(c.open, c.price_exponent),
            "high": _decimals(c.high, c.price_exponent),
            "low": _decimals(c.low, c.price_exponent),
            "close": _decimals(c.close, c.price_exponent),
            "volume": _decimals(c.volume, c.volume_exponent),
            "trade_count": _digits(c.trade_count),
        },
    )


def _funding(state: bytes) -> bytes:
    event: FundingObserved = columnar.decode_funding(state)
    c = event.columns
    return _object(
        {"venue": event.instrument.venue, "symbol": event.instrument.symbol},
        {
            "time": _digits(c.time),
            "rate": _decimals(c.rate, c.rate_exponent),
            "interval_hours": _numbers(c.interval_hours),
        },
    )


_COLUMNAR: Mapping[bytes, Callable[[bytes], bytes]] = {b"\xa9T": _trades, b"\xa9B": _bars, b"\xa9F": _funding}


def _object(head: Mapping[str, object], columns: Mapping[str, str]) -> bytes:
    body = ",".join(f'"{name}":{values}' for name, values in columns.items())
    return msgspec.json.encode(head)[:-1] + f',"columns":{{{body}}}}}'.encode()


def _numbers(column: NDArray[Any]) -> str:
    return f"[{','.join(map(str, column.tolist()))}]"


def _digits(column: NDArray[Any]) -> str:
    return '["' + '","'.join(map(str, column.tolist())) + '"]'


def _decimals(column: NDArray[Any], places: int) -> str:
    if not places:
        return _digits(column)
    if column.min() < 0:
        texts = [decimal(value, places) for value in column.tolist()]
    else:  # cutting a text in two costs a third of what formatting does
        digits = [str(value).zfill(places + 1) for value in column.tolist()]
        texts = [f"{text[:-places]}.{text[-places:]}" for text in digits]
    return '["' + '","'.join(texts) + '"]'


def decimal(value: int, places: int) -> str:
    """``value * 10**-places`` in full, with all its places: 1250, 2 -> "12.50"."""
    if not places:
        return str(value)
    digits = f"{abs(value):0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
