"""What a model learns from: feature rows of one set with their labels, out of the read models.

Everything is as of a position of the log, and nothing known after ``until`` (ns, the venue's clock) is
looked at, labels included: a longer log gives the same lessons.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import FEED_DOWN, Bars
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.features import (
    NOT_SETTLED,
    OUT_OF_ORDER,
    BadFeatureSet,
    Feature,
    SetDefined,
    digest_of,
)
from alphapulse.domain.analysis.fields import TAKER_BUY, TRADES, Floats, Int64s
from alphapulse.domain.analysis.models import Trained
from alphapulse.domain.learning.labels import (
    AMBIGUOUS,
    EXPIRED,
    NEVER,
    RANGE_FORGETS,
    UNSEEN,
    Barriers,
    first_touch,
)
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.processes.fitting import Unfittable, trained_on
from alphapulse.projections.feature_queries import feature_instruments, feature_rows, feature_set
from alphapulse.projections.known_bars import MAX_KNOWN_BARS, known_bars

MAX_MARKETS = 200
MAX_ROWS = 1_000_000  # of all markets together
UNSOUND = FEED_DOWN | OUT_OF_ORDER  # rows with one of these are not learnt from

_TOLD_BY_SOME = {TAKER_BUY, TRADES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which lessons. ``version`` None: the newest in use. ``features`` empty: all that can be learnt from.

    ``instruments`` empty: every market with bars. ``window``: the last so many rows of each.
    """

    set: str
    version: int | None
    timeframe: int
    instruments: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    window: int = 50_000
    until: int | None = None
    as_of: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """R rows in order of known time. ``values`` (R, F), all there, as float32 has them."""

    defined: SetDefined
    timeframe: int  # minutes
    inputs: tuple[Feature, ...]
    wished: tuple[str, ...]  # markets that were named; empty: all
    instruments: tuple[str, ...]
    barriers: Barriers
    values: Floats
    rises: Floats  # 1 or 0
    known: Int64s  # ns
    label_known: Int64s  # ns
    trained: Trained
    shares: Mapping[str, float]  # of the rows looked at: how labels came about

    def __len__(self) -> int:
        return len(self.values)


async def pinned_set(
    db: AsyncConnection[Any], name: str, version: int | None, timeframe: int, *, as_of: int | None = None
) -> SetDefined:
    """The set, if models may be trained on it.

    Raises:
        UnknownFeatureSet: there is no such set or version.
        BadFeatureSet: it is retired, has no such rows, this code makes other values, or its digest is wrong.
    """
    found = await feature_set(db, name, version, as_of=as_of)
    defined, label = found.defined, f"{name} version {found.defined.version}"
    if found.retired_position is not None:
        raise BadFeatureSet(f"{label} was retired at position {found.retired_position}: choose one in use")
    if found.problem is not None:
        raise BadFeatureSet(f"{label}: {found.problem}")
    if (digest := digest_of(defined.timeframes, defined.features)) != defined.digest:
        raise BadFeatureSet(f"{label}: its features have digest {digest}, recorded is {defined.digest}")
    if timeframe not in defined.timeframes:
        labels = ", ".join(LABELS[t] for t in defined.timeframes)
        raise BadFeatureSet(f"{label} has rows of {labels}, not of {LABELS.get(timeframe, timeframe)}")
    return defined


def inputs_of(defined: SetDefined, names: Sequence[str] = ()) -> tuple[Feature, ...]:
    """The features called ``names``, or all that can be learnt from.

    Raises:
        BadFeatureSet: no such feature, one is named twice, or there is none to learn from.
    """
    by_name = {feature.name: feature for feature in defined.features}
    unknown = [name for name in names if name not in by_name]
    if unknown or len(set(names)) < len(names):
        raise BadFeatureSet(
            f"features {list(names)}, each once, of those of {defined.name} version {defined.version}: "
            f"{', '.join(by_name)}"
        )
    chosen = [by_name[name] for name in names] or [f for f in defined.features if teaches(f)]
    if not chosen:
        raise BadFeatureSet(
            f"{defined.name} version {defined.version} has nothing that means the same at any price, "
            "forgets its past and is told of every market: name features"
        )
    return tuple(chosen)


def teaches(feature: Feature) -> bool:
    """Whether the value means the same at any price and volume, forgets where the log began, and is there on
    any market: takers and numbers of trades are not always told."""
    known = feature.spec.known
    (output,) = (each for each in known.outputs if each.name == feature.output)
    is_free = known.scales and not output.prices and not output.volumes
    return is_free and known.forgets(feature.spec.params) is not None and not _TOLD_BY_SOME & {*known.inputs}


async def lessons(
    db: AsyncConnection[Any], wish: Wish, barriers: Barriers, *, tell: Callable[[int], None] = lambda _: None
) -> Lessons:
    """Labelled rows of all wished-for markets. ``tell`` gets how many markets are read.

    Raises:
        UnknownFeatureSet, BadFeatureSet: see pinned_set and inputs_of.
        Unfittable: no row has all features and a label; or too many rows or markets.
        NotYetFolded, QueryTooLarge: see feature_rows.
    """
    defined = await pinned_set(db, wish.set, wish.version, wish.timeframe, as_of=wish.as_of)
    inputs = inputs_of(defined, wish.features)
    markets = tuple(sorted(wish.instruments or await feature_instruments(db)))
    _check_size(wish, markets)
    parts: list[_Part] = []
    absent: Counter[str] = Counter()
    for n, instrument in enumerate(markets, 1):
        part = await _market(db, wish, defined, inputs, barriers, instrument)
        if part is not None:
            absent.update(part.absent)
            parts += [part] if len(part.values) else []
        tell(n)
    if not parts:
        most = ", ".join(f"{name} is missing in {rows:,}" for name, rows in absent.most_common(5) if rows)
        raise Unfittable(
            f"no row of {defined.name} version {defined.version} of {LABELS[wish.timeframe]} on "
            f"{', '.join(markets) or 'any market'} has all of {len(inputs)} features and a label: "
            f"{most or 'there are no rows that are settled and resolved'}"
        )
    return _together(wish, defined, inputs, markets, barriers, parts)


def _check_size(wish: Wish, markets: Sequence[str]) -> None:
    if not 1 <= wish.window <= MAX_KNOWN_BARS or len(markets) > MAX_MARKETS:
        raise Unfittable(
            f"{wish.window} rows (1 to {MAX_KNOWN_BARS}) of {len(markets)} markets (at most {MAX_MARKETS})"
        )
    if wish.window * len(markets) > MAX_ROWS:
        raise Unfittable(
            f"{wish.window} rows of {len(markets)} markets are over {MAX_ROWS}: choose a smaller window"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    values: Floats
    rises: Floats
    known: Int64s
    label_known: Int64s
    trained: Trained
    how: NDArray[np.int8]
    absent: Mapping[str, int]  # rows without the feature


async def _market(
    db: AsyncConnection[Any],
    wish: Wish,
    defined: SetDefined,
    inputs: Sequence[Feature],
    barriers: Barriers,
    instrument: str,
) -> _Part | None:
    """The lessons of one market; None where it has no rows."""
    _, rows = await feature_rows(
        db, defined.name, defined.version, instrument, wish.timeframe,
        last=wish.window, known_by=wish.until, as_of=wish.as_of,
    )  # fmt: skip
    if not len(rows):
        return None
    last = min(wish.window + RANGE_FORGETS, MAX_KNOWN_BARS)
    end = None if wish.until is None else wish.until + 1
    bars = await known_bars(db, instrument, wish.timeframe, last=last, end=end, as_of=wish.as_of)
    if wish.until is not None:
        late = np.flatnonzero(bars.known_time > wish.until)
        bars = bars.take(slice(int(late[0]) if len(late) else len(bars)))
    return _labelled(rows, bars, defined, inputs, barriers)


def _labelled(
    rows: FeatureRows, bars: Bars, defined: SetDefined, inputs: Sequence[Feature], barriers: Barriers
) -> _Part:
    labels = first_touch(bars, barriers)
    places = np.minimum(np.searchsorted(bars.start, rows.start), len(bars) - 1)
    with np.errstate(over="ignore"):
        columns = [defined.columns.index(feature.name) for feature in inputs]
        values = rows.values[:, columns].astype(np.float32).astype(np.float64)
    there = np.isfinite(values)
    sound = (bars.start[places] == rows.start) & ((rows.flags & UNSOUND) == 0) & there.all(axis=1)
    sound &= _settled(rows, inputs)
    how = labels.how[places[sound]]
    sound &= np.isfinite(labels.rises[places]) & (labels.known_time[places] < NEVER)
    kept = places[sound]
    first = int(kept[0]) if len(kept) else 0
    last = _last_seen(bars, labels.known_time[kept]) if len(kept) else len(bars) - 1
    counts = (~there).sum(axis=0).tolist()
    return _Part(
        values=values[sound],
        rises=labels.rises[kept],
        known=bars.known_time[kept],
        label_known=labels.known_time[kept],
        trained=trained_on(bars, slice(first, last + 1)),
        how=how,
        absent={feature.name: count for feature, count in zip(inputs, counts, strict=True)},
    )


def _settled(rows: FeatureRows, inputs: Sequence[Feature]) -> NDArray[np.bool_]:
    """Rows in which the start of the log shows in none of ``inputs``; in others of the set it may."""
    settled: NDArray[np.bool_] = (rows.flags & NOT_SETTLED) == 0
    forgets = [feature.spec.known.forgets(feature.spec.params) for feature in inputs]
    if all(feature.timeframe is None for feature in inputs) and None not in forgets:
        needed = max(bars + feature.lag for bars, feature in zip(forgets, inputs, strict=True) if bars)
        settled |= np.arange(len(rows)) >= needed
    return settled


def _last_seen(bars: Bars, label_known: Int64s) -> int:
    """The last bar that some label looks at."""
    return int(np.flatnonzero(bars.known_time <= label_known.max())[-1])


def _together(
    wish: Wish,
    defined: SetDefined,
    inputs: tuple[Feature, ...],
    markets: tuple[str, ...],
    barriers: Barriers,
    parts: Sequence[_Part],
) -> Lessons:
    known = np.concatenate([part.known for part in parts])
    order = np.argsort(known, kind="stable")  # markets in alphabetical order within one moment
    how = np.concatenate([part.how for part in parts])
    codes = {"expired": EXPIRED, "ambiguous": AMBIGUOUS, "unseen": UNSEEN}
    return Lessons(
        defined=defined,
        timeframe=wish.timeframe,
        inputs=inputs,
        wished=tuple(sorted(wish.instruments)),
        instruments=markets,
        barriers=barriers,
        values=np.concatenate([part.values for part in parts])[order],
        rises=np.concatenate([part.rises for part in parts])[order],
        known=known[order],
        label_known=np.concatenate([part.label_known for part in parts])[order],
        trained=_trained([part.trained for part in parts], len(known)),
        shares={name: float(np.mean(how == code)) for name, code in codes.items()},
    )


def _trained(parts: Sequence[Trained], rows: int) -> Trained:
    return Trained(
        first_start=min(part.first_start for part in parts),
        last_start=max(part.last_start for part in parts),
        first_position=min(part.first_position for part in parts),
        last_position=max(part.last_position for part in parts),
        known_time=max(part.known_time for part in parts),
        bars=rows,
    )
