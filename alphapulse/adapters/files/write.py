"""Write trades as CSV, in the format ``alphapulse`` that the importer reads back exactly."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from alphapulse.domain.market.columns import BUY, RECEIVE_TIME, SELL, TradeColumns
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.judging import decimal_text

HEADER = "venue,symbol,id,time,received,price,size,side\n"
_SIDES = {BUY: "buy", SELL: "sell"}


def write_trades(out: TextIO, instrument: Instrument, trades: TradeColumns) -> None:
    """One line a trade. A time that is a time of receipt goes to ``received``, and ``time`` stays blank."""
    unknown = (trades.flags & RECEIVE_TIME).astype(np.bool_).tolist()
    columns = (trades.id, trades.time, trades.price, trades.size, trades.side)
    rows = zip(*(column.tolist() for column in columns), unknown, strict=True)
    head = f"{instrument.venue},{instrument.symbol}"
    prices, sizes = trades.price_exponent, trades.size_exponent
    out.writelines(
        f"{head},{i},{'' if blank else time},{time},{decimal_text(price, prices)},"
        f"{decimal_text(size, sizes)},{_SIDES.get(side, '')}\n"
        for i, time, price, size, side, blank in rows
    )


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """``path`` for writing, packed when its name ends in .gz."""
    if path.suffix == ".gz":
        with gzip.open(path, "wt", compresslevel=1, encoding="utf-8", newline="") as packed:
            yield packed
    else:
        with path.open("w", encoding="utf-8", newline="") as plain:
            yield plain
