"""What performance reports are made of. Plain data: read by GraphQL, commands, reports and trials alike."""

import math
from collections.abc import Sequence

import msgspec

# Shares and chances: people read them in per cent.
IN_PERCENT = frozenset(
    {
        *("total_return", "annual_return", "volatility", "max_drawdown", "max_drawdown_by_close"),
        *("var_95", "var_99", "es_95", "es_99", "exposure", "time_in_market"),
        *("win_rate", "win_rate_worst", "win_rate_best", "mean_claim"),
        *("probabilistic_sharpe", "deflated_sharpe", "calibration_error", "calibration_error_by_chance"),
    }
)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure with its 95 % interval and what it rests on. None: it cannot be said; ``note`` says why."""

    name: str  # win_rate, sharpe …
    title: str
    unit: str  # ratio, bps, r, per_year (annualised, without a unit), probability, count, days, hours
    value: float | None
    low: float | None = None
    high: float | None = None
    sample: int = 0  # trades, or days, that it is made of
    effective: float = 0.0  # the same, overlap-adjusted
    note: str = ""  # how the interval was made, or why there is no value

    @property
    def in_percent(self) -> bool:
        """Whether people read it in per cent."""
        return self.name in IN_PERCENT


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The equity after what closed up to ``time``, 1 at the beginning; ``drawdown`` = 1 - equity / peak."""

    time: int
    equity: float
    drawdown: float


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """``value`` = equity at its end over that at its beginning, less 1."""

    year: int
    month: int
    value: float
    trades: int


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    low: float
    high: float
    count: float  # overlap-adjusted
    claimed: float
    won: float
    won_low: float
    won_high: float


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of trades was worth. ``figures`` in the order in which they are shown."""

    of: str  # signals or candidates
    trades: int
    days: int  # UTC, from ``first`` to the last close or the end asked for, both included
    first: int  # ns, opening or the beginning asked for; 0 where there are no trades
    last: int
    figures: tuple[Figure, ...]
    curve: tuple[Point, ...] = ()
    months: tuple[Month, ...] = ()
    bins: tuple[ReliabilityBin, ...] = ()

    def figure(self, name: str) -> Figure:
        """Raises KeyError."""
        for each in self.figures:
            if each.name == name:
                return each
        raise KeyError(f"{name} is none of {', '.join(each.name for each in self.figures)}")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one key of a dimension (a voter, a regime …) is credited with; the parts sum to the whole."""

    key: str
    trades: int  # in which it had a share
    contribution: float  # sum of share * size * net return: a share of the equity at the beginning
    share: float  # contribution / the whole; 0 where the whole is 0
    r: float  # sum of share * net R
    low: float | None = None  # 95 % interval of ``contribution``
    high: float | None = None
    without: float | None = None  # leave-one-out: what the whole would lose without it; need not sum


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """``total`` of ``trades`` = the sum of the contributions of ``parts``, which are in falling order."""

    by: str  # voter, pattern, feature_group, regime, timeframe, venue, instrument, hour, version
    trades: int
    total: float
    total_r: float
    parts: tuple[Part, ...]
    note: str = ""

    def at_most(self, most: int) -> tuple[Part, ...]:
        """See ``at_most``."""
        return at_most(self.parts, most)


def at_most(parts: Sequence[Part], most: int) -> tuple[Part, ...]:
    """The ``most`` parts that made the largest difference, in their order, the last one the sum of others."""
    if len(parts) <= most:
        return tuple(parts)
    largest = {part.key for part in sorted(parts, key=lambda p: -abs(p.contribution))[: most - 1]}
    rest = [part for part in parts if part.key not in largest]
    others = Part(
        key=f"{len(rest)} others",
        trades=0,  # a trade may be in several of them
        contribution=math.fsum(part.contribution for part in rest),
        share=math.fsum(part.share for part in rest),
        r=math.fsum(part.r for part in rest),
    )
    return (*(part for part in parts if part.key in largest), others)
