"""What a volume profile says: its point of control, its value area, its high- and low-volume nodes.

All of it is decided in integers, so it does not depend on rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alphapulse.domain.analysis.profile import Profile

VALUE_PERCENT = 70
SMOOTHING = 2  # passes
PROMINENCE_PERCENT = 10


class NothingTraded(ValueError):
    """A profile without volume has no levels."""


class ValueArea(NamedTuple):
    """Bins ``low`` to ``high``, both included, counted from the profile's first; ``volume`` is theirs."""

    low: int
    high: int
    volume: int


@dataclass(frozen=True, slots=True)
class Node:
    """A peak or trough of the smoothed profile: bins from its first; ``prominence`` as a share of the top."""

    bin: int
    volume: int  # of the bin itself, not smoothed
    prominence_ratio: float


class Distance(NamedTuple):
    """How far one profile is from another of the same bins."""

    total_variation_ratio: float  # share of the volume that lies in other bins: 0 the same, 1 nothing shared
    point_of_control_bins: int  # of the second, less that of the first
    value_area_overlap_ratio: float  # bins in both areas of those in either


def point_of_control(profile: Profile) -> int:
    """The bin with the most volume, counted from the first.

    Of several, the one nearest to the middle of the profile; of two equally near, the lower.

    Raises:
        NothingTraded.
    """
    volume = profile.volume
    most = max(volume, default=0)
    if most <= 0:
        raise NothingTraded(f"no volume in {len(volume)} bins")
    ties = [i for i, v in enumerate(volume) if v == most]
    return min(ties, key=lambda i: (abs(2 * i - (len(volume) - 1)), i))


def value_area(profile: Profile, *, percent: int = VALUE_PERCENT) -> ValueArea:
    """The bins around the point of control that hold at least ``percent`` of the volume.

    From the point of control on, the two bins above are weighed against the two below, and the pair with
    more volume is taken; the upper one when they are equal. At an end of the profile a pair may be a
    single bin.

    Raises:
        NothingTraded.
        ValueError: ``percent`` is not from 1 to 100.

    Source: Chicago Board of Trade, CBOT Market Profile (1991); J. F. Dalton, Mind over Markets (1990).
    """
    if not 1 <= percent <= 100:
        raise ValueError(f"a value area of {percent} %")
    volume = profile.volume
    low = high = point_of_control(profile)
    held, total = volume[low], sum(volume)
    while held * 100 < total * percent:
        above, below = volume[high + 1 : high + 3], volume[max(low - 2, 0) : low]
        if above and (not below or sum(above) >= sum(below)):
            high, held = high + len(above), held + sum(above)
        else:
            low, held = low - len(below), held + sum(below)
    return ValueArea(low, high, held)


def nodes(
    profile: Profile, *, smoothing: int = SMOOTHING, prominence_percent: int = PROMINENCE_PERCENT
) -> tuple[list[Node], list[Node]]:
    """High-volume nodes (peaks) and low-volume nodes (troughs between them), by price.

    The profile is smoothed ``smoothing`` times with weights 1 2 1. A peak stands above what is beside it, a
    plateau at its middle; beyond the profile there is nothing, so its first and last bins may be peaks, and
    are no troughs. Prominence is how far one has to go down from a peak before a higher one can be reached
    (up from a trough, before a lower one or the end), here at least ``prominence_percent`` of the highest.

    Raises:
        ValueError: ``smoothing`` is not from 0 to 20, ``prominence_percent`` not from 0 to 100.
    """
    if not (0 <= smoothing <= 20 and 0 <= prominence_percent <= 100):
        raise ValueError(f"smoothing {smoothing}, prominence {prominence_percent} %")
    volume = profile.volume
    smooth = smoothed(volume, smoothing)
    top = max(smooth, default=0)
    highs = [(i - 1, p) for i, p in _peaks([0, *smooth, 0])]
    lows = _peaks([-v for v in smooth])

    def worthy(found: Sequence[tuple[int, int]]) -> list[Node]:
        return [Node(i, volume[i], p / top) for i, p in found if p * 100 >= top * prominence_percent]

    return worthy(highs), worthy(lows)


def smoothed(volume: Sequence[int], passes: int) -> list[int]:
    """``volume`` weighed with its neighbours 1 2 1, ``passes`` times; 4**passes times as large."""
    current = list(volume)
    for _ in range(passes):
        wide = [0, *current, 0]
        current = [a + 2 * b + c for a, b, c in zip(wide, wide[1:], wide[2:], strict=False)]
    return current


def distance(first: Profile, second: Profile) -> Distance:
    """How far ``second`` is from ``first``, an approximation from the exact one say.

    Raises:
        NothingTraded, ValueError: the bins are not the same.
    """
    if first.grid != second.grid:
        raise ValueError(f"bins of {first.grid.size} and of {second.grid.size}")
    controls = [p.first + point_of_control(p) for p in (first, second)]
    areas = [
        range(p.first + area.low, p.first + area.high + 1)
        for p, area in ((p, value_area(p)) for p in (first, second))
    ]
    both = len(range(max(a.start for a in areas), min(a.stop for a in areas)))
    return Distance(
        _total_variation(first, second),
        controls[1] - controls[0],
        both / (len(areas[0]) + len(areas[1]) - both),
    )


def _total_variation(first: Profile, second: Profile) -> float:
    """Half the sum of the differences of the shares, in exact fractions up to the last step."""
    low = min(first.first, second.first)
    high = max(first.first + len(first), second.first + len(second))
    shares: list[list[int]] = []
    for one, other in ((first, second), (second, first)):
        before, after = one.first - low, high - one.first - len(one)
        shares.append([0] * before + [v * other.total for v in one.volume] + [0] * after)
    apart = sum(abs(a - b) for a, b in zip(*shares, strict=True))
    ratio: float = apart / (2 * first.total * second.total)
    return ratio


def _peaks(values: Sequence[int]) -> list[tuple[int, int]]:
    """Place and prominence of each peak, ends excluded; a plateau's place is the middle, the lower of two."""
    left = _lowest_before_higher(values)
    right = _lowest_before_higher(values[::-1])[::-1]
    found, i = [], 1
    while i < len(values) - 1:
        end = i
        while end < len(values) - 1 and values[end + 1] == values[i]:
            end += 1
        if values[i - 1] < values[i] and end < len(values) - 1 and values[end + 1] < values[i]:
            found.append(((i + end) // 2, values[i] - max(left[i], right[i])))
        i = end + 1
    return found


def _lowest_before_higher(values: Sequence[int]) -> list[int]:
    """The lowest value on the way from each place to the left, up to a higher one or the end."""
    lowest: list[int] = []
    higher: list[tuple[int, int]] = []  # value, and the lowest since the one before it
    for value in values:
        least = value
        while higher and higher[-1][0] <= value:
            least = min(least, higher.pop()[1])
        higher.append((value, least))
        lowest.append(least)
    return lowest
