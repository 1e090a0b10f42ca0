"""Where each stored batch of trades or venue bars lies, as the fold finds it.

Source: TradesObserved, BarsObserved. Kept by the read model ``candles`` in its own transactions, so that
bars and the batches behind them are always seen at the same position; rebuilt with it.
"""

from dataclasses import dataclass

from alphapulse.domain.market.candles import Extent
from alphapulse.domain.market.columns import BarColumns
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.ports import Recorded


@dataclass(frozen=True, slots=True)
class Block:
    """One row of ``trade_blocks``, its fields in the order of the table's columns."""

    instrument: str
    position: int
    version: int
    source: int  # 0: trades; else minutes of a venue bar
    rows: int
    time_lo: int  # ns; of bars the open of the first
    time_hi: int  # ns; of bars the end of the last
    id_lo: int
    id_hi: int
    high_water: int  # ns, before this batch
    price_exponent: int
    size_exponent: int

    def row(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


def trade_block(recorded: Recorded, box: Extent, high_water: int) -> Block:
    """The block of a TradesObserved."""
    columns = recorded.event.columns
    return Block(
        instrument=str(recorded.event.instrument),
        position=recorded.position,
        version=recorded.version,
        source=0,
        rows=len(columns),
        time_lo=box.time_lo,
        time_hi=box.time_hi,
        id_lo=box.id_lo,
        id_hi=box.id_hi,
        high_water=high_water,
        price_exponent=columns.price_exponent,
        size_exponent=columns.size_exponent,
    )


def bar_block(recorded: Recorded, high_water: int) -> Block:
    """The block of a BarsObserved, which holds at least one bar."""
    columns: BarColumns = recorded.event.columns
    minutes = recorded.event.timeframe_minutes
    return Block(
        instrument=str(recorded.event.instrument),
        position=recorded.position,
        version=recorded.version,
        source=minutes,
        rows=len(columns),
        time_lo=int(columns.start.min()),
        time_hi=int(columns.start.max()) + minutes * MINUTE_NS,
        id_lo=0,
        id_hi=0,
        high_water=high_water,
        price_exponent=columns.price_exponent,
        size_exponent=columns.volume_exponent,
    )
