"""The timeframes of a candle, in minutes, and where a bar begins: weeks on Monday 00:00 UTC."""

import numpy as np

from alphapulse.domain.market.columns import Int64s

MINUTE_NS = 60_000_000_000
TIMEFRAMES: dict[str, int] = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440, "1w": 10_080}
LABELS: dict[int, str] = {minutes: label for label, minutes in TIMEFRAMES.items()}

# 1970-01-01 was a Thursday: the first Monday began 4 days later, so weeks are counted from there.
_MONDAY = 4 * 1440


def bar_start(minute: Int64s | int, timeframe_minutes: int) -> Int64s | np.int64:
    """The first minute (since 1970 UTC) of the bar that holds ``minute``."""
    origin = _MONDAY if timeframe_minutes == TIMEFRAMES["1w"] else 0
    m = np.asarray(minute, dtype=np.int64)
    start = m - (m - origin) % timeframe_minutes
    return start if start.ndim else np.int64(start)
