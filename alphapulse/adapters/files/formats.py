"""Which column of a file means what: the known formats, and mappings that a user writes.

Time units: ``s ms us ns`` since 1970, ``iso`` text (no offset means UTC), ``epoch`` (the unit that
makes the file's first time fall between 2001 and 2286), ``auto`` (iso or epoch by the first time).
"""

from collections.abc import Sequence
from dataclasses import dataclass

TIME_UNITS = ("s", "ms", "us", "ns", "iso", "epoch", "auto")

# is_buyer_maker: the buyer was resting, so the taker sold.
_MAKER_BOUGHT, _MAKER_SOLD = ("true", "1", "t"), ("false", "0", "f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What trade and bar mappings share. ``header`` None: the file has one or not, look at its first line."""

    name: str
    time: str
    time_unit: str = "auto"
    venue: str | None = None
    symbol: str | None = None
    venue_column: str | None = None
    symbol_column: str | None = None
    signature: tuple[str, ...] = ()  # the columns by which the format is recognised
    names: tuple[str, ...] | None = None  # of a file without a header
    header: bool | None = True
    kinds: tuple[str, ...] = ("text", "parquet", "feather")
    # Round floats of Parquet and Feather to so many significant digits. Up to 15 bring back any decimal
    # of that length that became a float, and drop the noise of computing with it (3.8100000000000005e-05).
    float_digits: int | None = None

    def __post_init__(self) -> None:
        if self.float_digits is not None and not 1 <= self.float_digits <= 17:
            raise ValueError(f"{self.float_digits} significant digits: a float has 1 to 17")
        if self.time_unit not in TIME_UNITS:
            raise ValueError(f"time unit {self.time_unit!r} is none of {', '.join(TIME_UNITS)}")

    def wanted(self) -> list[str]:
        return [c for c in (self.time, self.venue_column, self.symbol_column) if c is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeMapping(Columns):
    price: str
    size: str
    side: str | None = None
    id: str | None = None
    received: str | None = None  # when the row was received, used where the time is blank
    received_unit: str = "auto"
    buy: tuple[str, ...] = ("buy", "b", "bid")  # words that say the taker bought, in any case
    sell: tuple[str, ...] = ("sell", "s", "ask")

    def wanted(self) -> list[str]:
        own = (self.price, self.size, self.side, self.id, self.received)
        return [*Columns.wanted(self), *(c for c in own if c is not None)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarMapping(Columns):
    open: str = "open"
    high: str = "high"
    low: str = "low"
    close: str = "close"
    volume: str = "volume"
    trade_count: str | None = None
    volume_unit: str = "base"
    open_is_last_close: bool = (
        False  # the venue opens a bar at the close before: it may lie outside low..high
    )

    def wanted(self) -> list[str]:
        own = (self.open, self.high, self.low, self.close, self.volume, self.trade_count)
        return [*Columns.wanted(self), *(c for c in own if c is not None)]


def _trades(*mappings: TradeMapping) -> dict[str, TradeMapping]:
    return {m.name: m for m in mappings}


_AGG = (
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
)
_VISION = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")

TRADE_FORMATS = _trades(
    TradeMapping(
        name="bitflyer", venue="bitflyer", symbol_column="product_code",
        time="exec_date", time_unit="iso", received="loaded", received_unit="iso",
        price="price", size="size", side="side", id="id",
        signature=("product_code", "loaded", "id", "exec_date", "side", "price", "size"),
    ),
    TradeMapping(
        name="binance_aggtrades", venue="binance", time="transact_time", time_unit="epoch",
        price="price", size="quantity", side="is_buyer_maker", id="agg_trade_id",
        buy=_MAKER_SOLD, sell=_MAKER_BOUGHT, signature=_AGG, names=(*_AGG, "is_best_match"), header=None,
    ),
    TradeMapping(
        name="binance_trades", venue="binance", time="time", time_unit="epoch",
        price="price", size="qty", side="isBuyerMaker", id="id",
        buy=_MAKER_SOLD, sell=_MAKER_BOUGHT, signature=_VISION, names=_VISION, header=None,
    ),
    TradeMapping(
        name="binance_tradeid", venue="binance", time="timestamp", time_unit="epoch",
        price="price", size="quantity", side="side", id="tradeId",
        signature=("timestamp", "price", "quantity", "side", "tradeId"),
    ),
    TradeMapping(
        name="binance_stream", venue="binance", symbol_column="Symbol",
        time="TransactionTime", time_unit="epoch", received="TimestampOfReceive", received_unit="epoch",
        price="Price", size="Quantity", side="IsBuyerMarketMaker", id="TradeId",
        buy=_MAKER_SOLD, sell=_MAKER_BOUGHT,
        signature=("TimestampOfReceive", "TransactionTime", "Symbol", "TradeId", "IsBuyerMarketMaker"),
    ),
    TradeMapping(
        name="binance_parquet", venue="binance", time="datetime",
        price="price", size="quantity", side="is_buyer_maker", id="trade_id",
        buy=_MAKER_SOLD, sell=_MAKER_BOUGHT,
        signature=("datetime", "price", "quantity", "is_buyer_maker", "trade_id"),
    ),
    TradeMapping(
        name="binance_renko", venue="binance", time="timestamp", time_unit="epoch",
        price="close", size="quantity", side="is_buyer_maker",
        buy=_MAKER_SOLD, sell=_MAKER_BOUGHT, signature=("timestamp", "close", "quantity", "is_buyer_maker"),
    ),
    TradeMapping(
        name="microstructure", venue_column="venue", symbol_column="symbol",
        time="exch_ts_ms", time_unit="ms", received="ts_ms", received_unit="ms",
        price="price", size="qty", side="side", id="trade_id",
        signature=("ts_ms", "exch_ts_ms", "venue", "symbol", "trade_id", "price", "qty", "side"),
    ),
    TradeMapping(
        name="tardis", venue_column="exchange", symbol_column="symbol", time="timestamp", time_unit="us",
        received="local_timestamp", received_unit="us", price="price", size="amount", side="side", id="id",
        signature=("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount"),
    ),
    TradeMapping(
        name="freqtrade", time="timestamp", time_unit="ms",
        price="price", size="amount", side="side", id="id",
        signature=("timestamp", "id", "type", "side", "price", "amount", "cost"),
    ),
    TradeMapping(
        name="ccxt_json", symbol_column="symbol", time="timestamp", time_unit="ms",
        price="price", size="amount", side="side", id="id", kinds=("json",),
        signature=("timestamp", "symbol", "id", "side", "price", "amount"),
    ),
    TradeMapping(
        name="coinbase_questdb", venue="coinbase", symbol_column="symbol", time="timestamp", time_unit="iso",
        price="price", size="amount", side="side",
        signature=("symbol", "side", "price", "amount", "timestamp"),
    ),
    TradeMapping(
        name="gemini", venue="gemini", time="time_seconds", time_unit="s",
        price="price", size="size", side="is_buyer_maker",
        buy=_MAKER_SOLD, sell=_MAKER_BOUGHT, signature=("time_seconds", "price", "size", "is_buyer_maker"),
    ),
    # The id is the time in microseconds; type names the side of the order that took.
    TradeMapping(
        name="mtgox", venue="mtgox", symbol="BTC_USD", time="id", time_unit="us",
        price="price", size="amount", side="type", id="id", signature=("id", "price", "amount", "type"),
    ),
    # What `alphapulse generate --csv` writes.
    TradeMapping(
        name="alphapulse", venue_column="venue", symbol_column="symbol", time="time", time_unit="ns",
        received="received", received_unit="ns", price="price", size="size", side="side", id="id",
        signature=("venue", "symbol", "id", "time", "received", "price", "size", "side"),
    ),
    TradeMapping(
        name="bitstamp", venue="bitstamp", symbol="BTC_USD", time="unix_s", time_unit="s",
        price="price", size="amount", names=("unix_s", "price", "amount"), header=False,
    ),
)  # fmt: skip

BAR_FORMATS = {
    m.name: m
    for m in (
        BarMapping(
            name="bitfinex", venue="bitfinex", time="ts_ms", time_unit="ms",
            signature=("ts_ms", "open", "close", "high", "low", "volume"),
        ),
        BarMapping(
            name="bitmex", venue="bitmex", time="ts_s", time_unit="s", volume_unit="contracts",
            open_is_last_close=True, signature=("ts_s", "open", "high", "low", "close", "volume"),
        ),
        BarMapping(
            name="freqtrade", time="date", float_digits=15,
            signature=("date", "open", "high", "low", "close", "volume"),
        ),
        BarMapping(
            name="cryptodatadownload", time="date", time_unit="iso", symbol_column="symbol",
            volume="volume_btc",
            signature=("date", "symbol", "open", "high", "low", "close", "volume_btc", "volume"),
        ),
        BarMapping(
            name="cryptodatadownload_from", time="Date", time_unit="iso", symbol_column="Symbol",
            open="Open", high="High", low="Low", close="Close", volume="VolumeFrom",
            signature=("Date", "Symbol", "Open", "High", "Low", "Close", "VolumeFrom", "VolumeTo"),
        ),
        BarMapping(
            name="ohlcv", time="timestamp", signature=("timestamp", "open", "high", "low", "close", "volume"),
        ),
    )
}  # fmt: skip


def recognise(formats: Sequence[Columns], columns: Sequence[str], kind: str) -> Columns | None:
    """The format whose signature fits these columns; the longest one where several do."""
    fitting = [m for m in formats if m.signature and kind in m.kinds and set(m.signature) <= set(columns)]
    return max(fitting, key=lambda m: len(m.signature), default=None)
