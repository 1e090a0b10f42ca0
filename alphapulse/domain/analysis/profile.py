"""Volume at price: how much was traded in each bin of prices, by takers who bought and who sold.

All sums are integers, in the units that the log holds: profiles can be added to each other and taken away
again without a trace, and neither order nor batches matter. Built by profile_sources.py.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.market.columns import MAX_EXPONENT

Whole = NDArray[np.object_]  # Python's integers: sums without a limit

MAX_BINS = 100_000  # from the lowest to the highest price of a profile

ROWS = 4  # volume, taker buy, taker sell, trades


class TooManyBins(ValueError):
    """The prices span more bins than a profile may have: take larger bins, or fewer trades."""


class TooLarge(ValueError):
    """Prices or volumes that exact integers of 64 bits cannot take in these units."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Bins of equal size: bin k holds the prices from k * size up to, not including, (k + 1) * size.

    The size is ``mantissa * 10**-exponent`` in quote currency.
    """

    mantissa: int
    exponent: int

    def __post_init__(self) -> None:
        if self.mantissa < 1 or not 0 <= self.exponent <= MAX_EXPONENT:
            raise ValueError(f"bin size {self.mantissa}e-{self.exponent} needs to be positive, 1e-18 or more")

    @classmethod
    def of(cls, size: Decimal | str | int) -> "Grid":
        """Bins of ``size``, such as Decimal("0.5"). Raises ValueError unless that is positive."""
        value = Decimal(size)
        if not value.is_finite() or value <= 0:
            raise ValueError(f"bin size {size} needs to be positive")
        numerator, denominator = value.as_integer_ratio()
        exponent = max(0, -int(value.normalize().as_tuple().exponent))
        return cls(numerator * 10**exponent // denominator, exponent)

    @classmethod
    def fitting(cls, low: Decimal, high: Decimal, *, at_most: int = 100) -> "Grid":
        """The smallest bins of 1, 2 or 5 times a power of ten, at most ``at_most`` from low to high.

        Raises:
            ValueError: there is no such range, or ``at_most`` is not from 2 to MAX_BINS.
        """
        if not (0 <= low <= high and 2 <= at_most <= MAX_BINS):
            raise ValueError(f"{at_most} bins from {low} to {high}")
        for power in range(-MAX_EXPONENT, 40):
            for digit in (1, 2, 5):
                size = Fraction(digit) * Fraction(10) ** power
                if Fraction(high) // size - Fraction(low) // size < at_most:
                    return cls.of(Decimal(digit).scaleb(power))
        raise ValueError(f"no bins from {low} to {high}")

    @property
    def size(self) -> Decimal:
        return Decimal(self.mantissa).scaleb(-self.exponent)

    def price(self, bin_: int) -> Decimal:
        """The lowest price in bin ``bin_``."""
        return Decimal(self.mantissa * bin_).scaleb(-self.exponent)

    def bins(self, prices: Int64s, exponent: int) -> Int64s:
        """The bin of each of n ``prices``, which are in units of 10**-exponent."""
        factor = 10 ** max(0, self.exponent - exponent)
        size = self.mantissa * 10 ** max(0, exponent - self.exponent)
        most = max(abs(int(prices.min(initial=0))), abs(int(prices.max(initial=0)))) * factor
        if max(most, size) < 1 << 63:
            bins: Int64s = prices * np.int64(factor) // np.int64(size)
            return bins
        found = prices.astype(object) * factor // size
        if len(found) and max(abs(found.min()), abs(found.max())) >= 1 << 62:
            raise TooLarge(f"prices up to {most} in bins of {size}, units of 1e-{self.exponent}")
        return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Profile:
    """Traded volume by price, from the lowest bin with any to the highest; no bins when nothing was traded.

    ``cells`` (4, bins) are Python integers: volume, what takers bought of it, what they sold (the side of the
    rest is unknown), all in units of 10**-size_exponent, and the number of trades.
    """

    grid: Grid
    size_exponent: int
    first: int  # number of the lowest bin
    cells: Whole
    exact: bool  # made of trades; else approximated from bars

    def __len__(self) -> int:
        return int(self.cells.shape[1])

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same volumes at the same prices, whatever their units."""
        if not isinstance(other, Profile):
            return NotImplemented
        exponent = max(self.size_exponent, other.size_exponent)
        return (
            (self.grid, self.exact, len(self)) == (other.grid, other.exact, len(other))
            and (len(self) == 0 or self.first == other.first)
            and np.array_equal(self.scaled(exponent), other.scaled(exponent))
        )

    @property
    def volume(self) -> list[int]:
        return list(self.cells[0])

    @property
    def taker_buy(self) -> list[int]:
        return list(self.cells[1])

    @property
    def taker_sell(self) -> list[int]:
        return list(self.cells[2])

    @property
    def trades(self) -> list[int]:
        return list(self.cells[3])

    @property
    def delta(self) -> list[int]:
        """What takers bought less what they sold, for each bin."""
        return list(self.cells[1] - self.cells[2])

    @property
    def total(self) -> int:
        return sum(self.volume)

    @property
    def prices(self) -> list[Decimal]:
        """The lowest price of each bin."""
        return [self.grid.price(self.first + i) for i in range(len(self))]

    def quantity(self, units: int) -> Decimal:
        """``units`` as an exact quantity in base units."""
        return Decimal(units).scaleb(-self.size_exponent)

    def scaled(self, exponent: int) -> Whole:
        """The cells in units of 10**-exponent, which is no coarser than they are."""
        scaled = self.cells.copy()
        scaled[:3] *= 10 ** (exponent - self.size_exponent)
        return scaled


class Bins:
    """A profile that grows: profiles are added to it and taken away again, exactly."""

    def __init__(self, grid: Grid, *, exact: bool) -> None:
        self.grid, self.exact = grid, exact
        self._size_exponent = 0
        self._first = 0
        self._cells = _none()

    def add(self, profile: Profile) -> None:
        """Raises TooManyBins, and nothing is added."""
        self._change(profile, 1)

    def remove(self, profile: Profile) -> None:
        """Take away what was added before."""
        self._change(profile, -1)

    def profile(self) -> Profile:
        first, cells = trimmed(self._first, self._cells)
        return Profile(
            grid=self.grid,
            size_exponent=self._size_exponent,
            first=first,
            cells=cells.copy(),
            exact=self.exact,
        )

    def _change(self, profile: Profile, sign: int) -> None:
        if (profile.grid, profile.exact) != (self.grid, self.exact):
            raise ValueError(f"{profile.grid} (exact: {profile.exact}) to {self.grid} (exact: {self.exact})")
        if not len(profile):
            return
        self._make_room(profile.first, len(profile))
        if profile.size_exponent > self._size_exponent:
            self._cells[:3] *= 10 ** (profile.size_exponent - self._size_exponent)
            self._size_exponent = profile.size_exponent
        at = profile.first - self._first
        self._cells[:, at : at + len(profile)] += sign * profile.scaled(self._size_exponent)

    def _make_room(self, first: int, count: int) -> None:
        held, end = self._cells.shape[1], first + count
        if self._first <= first and end <= self._first + held:
            return
        own, cells = trimmed(self._first, self._cells)
        low, high = first, end
        if cells.shape[1]:
            low, high = min(first, own), max(end, own + cells.shape[1])
        check_bins(low, high - 1, self.grid)
        wider = np.full((ROWS, high - low), 0, dtype=object)
        wider[:, own - low : own - low + cells.shape[1]] = cells
        self._first, self._cells = low, wider


class RollingProfile:
    """The profile of the last ``span`` steps: minutes, or bars.

    A step costs as much as comes in and goes out, however long the span.
    """

    def __init__(self, grid: Grid, span: int, *, exact: bool) -> None:
        if span < 1:
            raise ValueError(f"a span of {span}")
        self.span = span
        self._bins = Bins(grid, exact=exact)
        self._parts: dict[int, list[Profile]] = {}
        self._order: list[int] = []  # a heap of the steps that have parts
        self._newest: int | None = None

    def add(self, step: int, profile: Profile) -> None:
        """Add what was traded in ``step``. What is older than the span by now is no part any more.

        Raises:
            TooManyBins: see Bins.add; nothing has changed then.
        """
        newest = step if self._newest is None else max(step, self._newest)
        if step <= newest - self.span:
            return
        expired: list[int] = []
        while self._order and self._order[0] <= newest - self.span:
            expired.append(heapq.heappop(self._order))
        self._forget(expired)
        try:
            self._bins.add(profile)
        except ValueError:
            self._remember(expired)
            raise
        self._newest = newest
        for at in expired:
            del self._parts[at]
        if step not in self._parts:
            heapq.heappush(self._order, step)
        self._parts.setdefault(step, []).append(profile)

    def profile(self) -> Profile:
        return self._bins.profile()

    def _forget(self, steps: Sequence[int]) -> None:
        for step in steps:
            for part in self._parts[step]:
                self._bins.remove(part)

    def _remember(self, steps: Sequence[int]) -> None:
        for step in steps:
            heapq.heappush(self._order, step)
            for part in self._parts[step]:
                self._bins.add(part)


def check_bins(first: int, last: int, grid: Grid) -> None:
    """Raises TooManyBins when a profile may not reach from bin ``first`` to ``last``."""
    if last - first >= MAX_BINS:
        raise TooManyBins(
            f"prices from {grid.price(first)} to {grid.price(last + 1)} in bins of {grid.size}: "
            f"{last - first + 1} bins, at most {MAX_BINS}"
        )


def _none() -> Whole:
    return np.empty((ROWS, 0), dtype=object)


def trimmed(first: int, cells: Whole) -> tuple[int, Whole]:
    """The same without the empty bins at both ends."""
    filled = np.flatnonzero((cells != 0).any(axis=0))
    if not len(filled):
        return 0, _none()
    return first + int(filled[0]), cells[:, filled[0] : filled[-1] + 1]
