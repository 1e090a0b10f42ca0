"""NautilusTrader's engine on the bars of a file: two moving averages that cross, market orders, one venue.

    _nautilus_orders.py BARS.npy FAST SLOW

``BARS`` is (5, T, instruments): open, high, low, close, volume; run by the Python of .venv-nautilus. Prints
JSON: ``seconds`` of the run alone (bars made and sorted before it), ``bars`` and ``orders``. Imports nothing
of ours.
"""

import json
import sys
import time
from decimal import Decimal

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE, MINUTE_NS, START = Venue("BENCH"), 60_000_000_000, 1_704_067_200 * 10**9


class Cross(Strategy):
    def __init__(self, instrument: CryptoPerpetual, fast: int, slow: int) -> None:
        super().__init__()
        self.instrument = instrument
        self.quick, self.late = SimpleMovingAverage(fast), SimpleMovingAverage(slow)
        self.was_above: bool | None = None

    def on_start(self) -> None:
        kind = BarType.from_str(f"{self.instrument.id}-1-MINUTE-LAST-EXTERNAL")
        self.register_indicator_for_bars(kind, self.quick)
        self.register_indicator_for_bars(kind, self.late)
        self.subscribe_bars(kind)

    def on_bar(self, _bar: Bar) -> None:
        if not self.late.initialized:
            return
        above = self.quick.value > self.late.value
        if self.was_above is not None and above != self.was_above:
            self.close_all_positions(self.instrument.id)
            side = OrderSide.BUY if above else OrderSide.SELL
            self.submit_order(self.order_factory.market(self.instrument.id, side, Quantity.from_str("1.000")))
        self.was_above = above


def instrument(number: int) -> CryptoPerpetual:
    symbol = Symbol(f"I{number:02}")
    return CryptoPerpetual(
        instrument_id=InstrumentId(symbol, VENUE), raw_symbol=symbol,
        base_currency=USDT, quote_currency=USDT, settlement_currency=USDT, is_inverse=False,
        price_precision=2, size_precision=3,
        price_increment=Price.from_str("0.01"), size_increment=Quantity.from_str("0.001"),
        margin_init=Decimal("0.01"), margin_maint=Decimal("0.005"),
        maker_fee=Decimal("0.0005"), taker_fee=Decimal("0.0005"), ts_event=0, ts_init=0,
    )  # fmt: skip


def main(file: str, fast: int, slow: int) -> None:
    values = np.load(file)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.MARGIN, [Money(10_000_000, USDT)])
    for number in range(values.shape[2]):
        its = instrument(number)
        engine.add_instrument(its)
        kind = BarType.from_str(f"{its.id}-1-MINUTE-LAST-EXTERNAL")
        bars = [made(kind, row, n) for n, row in enumerate(values[:, :, number].T.tolist())]
        engine.add_data(bars, sort=number == values.shape[2] - 1)
        engine.add_strategy(Cross(its, fast, slow))
    begun = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - begun
    orders = len(engine.cache.orders())
    print(json.dumps({"seconds": seconds, "bars": values[0].size, "orders": orders}))


def made(kind: BarType, row: list[float], number: int) -> Bar:
    prices = [Price(value, 2) for value in row[:4]]
    end = START + (number + 1) * MINUTE_NS
    return Bar(kind, *prices, Quantity(row[4], 3), end, end)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
