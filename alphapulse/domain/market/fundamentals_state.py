"""What funding and news say at a moment: a fold over their events, and look-ups by known time.

A value at time t comes from rows with time <= t alone, and from a window that ends there, summed up
anew in one order: so it is the same bits whatever the events' batches, and however many older rows
are kept. Memory is bounded: the newest ``capacity`` rows stay, and a question whose window reaches
into what was forgotten is answered with NaN, never from half of the rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market import fundamentals_kernels as kernels
from alphapulse.domain.market.columns import MAX_EXPONENT, Int64s
from alphapulse.domain.market.fundamentals import (
    EVERY,
    HOUR_NS,
    MINUTE_NS,
    FundingColumns,
    FundingObserved,
    HeadlinesObserved,
    settlement,
)

Floats = NDArray[np.float64]

FUNDING_HALF_LIFE_NS = 7 * 24 * HOUR_NS
FUNDING_WINDOW_NS = 30 * 24 * HOUR_NS
FUNDING_WINDOW_ROWS = 1_000  # of them at most, the newest; hourly rates take 720
FUNDING_CAPACITY = 100_000  # rows: 11 years of hourly rates, 4.8 MB
STALE_INTERVALS = 3

NEWS_HALF_LIFE_NS = 6 * HOUR_NS
NEWS_WINDOW_NS, NEWS_COUNT_NS = 48 * HOUR_NS, 24 * HOUR_NS
NEWS_WINDOW_ROWS = 2_000  # scored in one window at most, the newest
NEWS_CAPACITY = 100_000  # headlines of a subject
NEWS_SUBJECTS = 1_000  # further ones are not followed

_NONE = -(1 << 62)  # nothing was forgotten
_POW10 = np.array([float(10**e) for e in range(MAX_EXPONENT + 1)], dtype=np.float64)
_INTS, _FLOATS = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FundingState:
    """One instrument's rates, ordered by time. Rates are per 8 hours, whatever the venue's interval."""

    capacity: int = FUNDING_CAPACITY
    minute: Int64s = field(default_factory=lambda: _INTS)
    time: Int64s = field(default_factory=lambda: _INTS)
    interval_hours: Int64s = field(default_factory=lambda: _INTS)
    rate: Floats = field(default_factory=lambda: _FLOATS)
    mean: Floats = field(default_factory=lambda: _FLOATS)
    std: Floats = field(default_factory=lambda: _FLOATS)
    count: Int64s = field(default_factory=lambda: _INTS)
    forgotten: int = _NONE  # the newest minute that was dropped


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Subject:
    """Headlines about one thing, ordered by (time, key)."""

    time: Int64s = field(default_factory=lambda: _INTS)
    key: Int64s = field(default_factory=lambda: _INTS)
    score: Floats = field(default_factory=lambda: _FLOATS)  # NaN: nobody gave one
    decay: Floats = field(default_factory=lambda: _FLOATS)
    forgotten: tuple[int, int] = (_NONE, 0)  # time and key of the newest that was dropped


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NewsState:
    """Headlines of all sources by subject; ``EVERY`` holds each of them."""

    capacity: int = NEWS_CAPACITY
    max_subjects: int = NEWS_SUBJECTS
    subjects: Mapping[str, Subject] = field(default_factory=dict)


class FundingAt(NamedTuple):
    """Arrays of shape (n,), one value an asked time; all NaN where no rate is known or it is too old."""

    rate_8h: Floats  # the last settled rate, as a fraction per 8 hours
    mean_8h: Floats  # of the 30 days before it, half-life 7 days
    std_8h: Floats  # likewise, the population's; NaN for a single rate
    rates: Floats  # how many are behind mean and std


class SentimentAt(NamedTuple):
    """Arrays of shape (n,); both NaN where no headline is known within 48 hours."""

    mean: Floats  # of the scores within 48 hours, half-life 6 hours; NaN where none has a score
    count_24h: Floats  # headlines within 24 hours, scored or not


@overload
def evolve(state: FundingState, event: FundingObserved) -> FundingState: ...
@overload
def evolve(state: NewsState, event: HeadlinesObserved) -> NewsState: ...
def evolve(
    state: FundingState | NewsState, event: FundingObserved | HeadlinesObserved
) -> FundingState | NewsState:
    """``state`` and what ``event`` says. Of rows with one identity the first in the log stays."""
    if isinstance(state, FundingState) and isinstance(event, FundingObserved):
        return _with_rates(state, event.columns)
    if isinstance(state, NewsState) and isinstance(event, HeadlinesObserved):
        return _with_headlines(state, event)
    raise TypeError(f"{type(state).__name__} does not evolve by {type(event).__name__}")


def funding_at(state: FundingState, times: Int64s) -> FundingAt:
    """What was known of funding at each of ``times`` (ns, in any order): see FundingAt.

    A rate is known at its own time, and for three of its intervals.
    """
    times = _asked(times)
    row = np.searchsorted(state.time, times, side="right") - 1
    if not len(state.time):
        return FundingAt(*(np.full(len(times), np.nan) for _ in range(4)))
    at = np.maximum(row, 0)
    age = times - state.time[at]
    known = (row >= 0) & (age <= STALE_INTERVALS * HOUR_NS * state.interval_hours[at])
    known &= state.minute[at] - FUNDING_WINDOW_NS // MINUTE_NS > state.forgotten
    columns = (state.rate, state.mean, state.std, state.count)
    return FundingAt(*(np.where(known, column[at], np.nan) for column in columns))


def sentiment_at(state: NewsState, subject: str, times: Int64s) -> SentimentAt:
    """What headlines about ``subject`` (``EVERY``: about anything) said at each of ``times`` (ns)."""
    times = _asked(times)
    rows = state.subjects.get(subject, Subject())
    end = np.searchsorted(rows.time, times, side="right")
    first = np.searchsorted(rows.time, times - NEWS_WINDOW_NS, side="right")
    in_day = end - np.searchsorted(rows.time, times - NEWS_COUNT_NS, side="right")
    known = (end > first) & (times - NEWS_WINDOW_NS >= rows.forgotten[0])
    first = np.where(known, np.maximum(first, end - NEWS_WINDOW_ROWS), end)
    mean = np.empty(len(times), dtype=np.float64)
    kernels.window_means(rows.score, rows.decay, first, end, mean)
    return SentimentAt(mean, np.where(known, in_day.astype(np.float64), np.nan))


def _asked(times: Int64s) -> Int64s:
    if times.dtype != np.int64 or times.ndim != 1:
        raise ValueError(f"times are int64 of shape (n,), not {times.dtype} of shape {times.shape}")
    return times


def _with_rates(old: FundingState, new: FundingColumns) -> FundingState:
    minute = np.concatenate((old.minute, settlement(new.time)))
    time = np.concatenate((old.time, new.time))
    hours = np.concatenate((old.interval_hours, new.interval_hours))
    rate = np.concatenate((old.rate, _as_floats(new) * 8.0 / new.interval_hours))
    row = _first_of_each(minute, minute)
    row = row[minute[row] > old.forgotten]
    forgotten = old.forgotten
    if len(row) > old.capacity:
        forgotten = int(minute[row[-old.capacity - 1]])
        row = row[-old.capacity :]
    made = FundingState(
        capacity=old.capacity,
        minute=minute[row],
        time=time[row],
        interval_hours=hours[row],
        rate=rate[row],
        forgotten=forgotten,
    )
    return _with_statistics(made, old)


def _with_statistics(made: FundingState, old: FundingState) -> FundingState:
    """``made`` with mean, deviation and count; those of rows before the first new one are taken over."""
    offset, begin = _carried(made.minute, old.minute)
    since = np.searchsorted(made.time, made.time - FUNDING_WINDOW_NS, side="right")
    index = np.arange(len(made.time))
    first = np.maximum(since, index - FUNDING_WINDOW_ROWS + 1)
    decay = _decays(made.time, FUNDING_HALF_LIFE_NS, int(first[begin]) if begin < len(made.time) else begin)
    mean, std = np.empty(len(made.time), dtype=np.float64), np.empty(len(made.time), dtype=np.float64)
    mean[:begin], std[:begin] = old.mean[offset : offset + begin], old.std[offset : offset + begin]
    kernels.window_statistics(made.rate, decay, first, begin, mean, std)
    return replace(made, mean=mean, std=std, count=index - first + 1)


def _with_headlines(state: NewsState, event: HeadlinesObserved) -> NewsState:
    subjects = dict(state.subjects)
    rows: dict[str, list[tuple[int, int, float]]] = {}
    for headline in event.headlines:
        score = math.nan if headline.sentiment is None else headline.sentiment
        for subject in {EVERY: None, **dict.fromkeys(headline.subjects)}:
            rows.setdefault(subject, []).append((headline.time, headline.key, score))
    for subject, found in rows.items():
        if subject in subjects or len(subjects) < state.max_subjects:
            subjects[subject] = _with_rows(subjects.get(subject, Subject()), found, state.capacity)
    return replace(state, subjects=subjects)


def _with_rows(old: Subject, found: Sequence[tuple[int, int, float]], capacity: int) -> Subject:
    time = np.concatenate((old.time, np.array([row[0] for row in found], dtype=np.int64)))
    key = np.concatenate((old.key, np.array([row[1] for row in found], dtype=np.int64)))
    score = np.concatenate((old.score, np.array([row[2] for row in found], dtype=np.float64)))
    row = _first_of_each(key, time)
    gone_time, gone_key = forgotten = old.forgotten
    row = row[(time[row] > gone_time) | ((time[row] == gone_time) & (key[row] > gone_key))]
    if len(row) > capacity:
        last = row[-capacity - 1]
        forgotten, row = (int(time[last]), int(key[last])), row[-capacity:]
    time, key = time[row], key[row]
    offset, begin = _carried(key, old.key)
    decay = _decays(time, NEWS_HALF_LIFE_NS, begin)
    decay[:begin] = old.decay[offset : offset + begin]
    return Subject(time=time, key=key, score=score[row], decay=decay, forgotten=forgotten)


def _first_of_each(key: Int64s, time: Int64s) -> NDArray[np.intp]:
    """The rows in order of (time, key); of those with one key the first, as what the log said first stays."""
    if (key[1:] > key[:-1]).all() and (time[1:] >= time[:-1]).all():
        return np.arange(len(key))  # as they come from a live feed, and most files
    _, row = np.unique(key, return_index=True)
    ordered: NDArray[np.intp] = row[np.lexsort((key[row], time[row]))]
    return ordered


def _carried(now: Int64s, before: Int64s) -> tuple[int, int]:
    """Where ``now`` begins in ``before``, and how many rows from there on are the same in both."""
    if not len(now) or not len(before):
        return 0, 0
    offset = int(np.argmax(before == now[0])) if now[0] in before else len(before)
    most = min(len(now), len(before) - offset)
    differs = np.flatnonzero(now[:most] != before[offset : offset + most])
    return offset, int(differs[0]) if len(differs) else most


def _decays(time: Int64s, half_life_ns: int, begin: int) -> Floats:
    """What is left at each row of a weight of one at the row before it, from row ``begin`` on; else 0.

    Row by row: the vectorised power differs in its last bit between a long array and a short one.
    """
    decay = np.zeros(len(time), dtype=np.float64)
    begin = max(begin, 1)
    decay[begin:] = [math.exp2(-gap / half_life_ns) for gap in np.diff(time[begin - 1 :]).tolist()]
    return decay


def _as_floats(columns: FundingColumns) -> Floats:
    """The rates as floats: of equal rates the same, whatever the exponent of their batch."""
    rate = columns.rate.copy()
    exponent = np.full(len(rate), columns.rate_exponent, dtype=np.int64)
    while (even := (exponent > 0) & (rate % 10 == 0)).any():
        rate[even] //= 10
        exponent[even] -= 1
    exact: Floats = rate.astype(np.float64) / _POW10[exponent]
    return exact
