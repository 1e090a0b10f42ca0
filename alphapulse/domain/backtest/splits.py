"""Where to look for the best configuration, and where to measure it: ranges of time that share nothing.

A row (a trade, an example) begins at ``opened`` and its outcome is known at ``closed``. Times are integers of
any one unit, ns as a rule. Ranges hold their beginning and not their end; an outcome known at the moment at
which a range begins was known before it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.learning.folds import settled
from alphapulse.domain.market.timeframes import MINUTE_NS

DAY_NS = 1_440 * MINUTE_NS
MAX_WINDOWS = 1_000
MAX_GROUPS = 50
MAX_SPLITS = 5_000

Bools = NDArray[np.bool_]


class BadSplits(ValueError):
    """A range, a length or a number that does not fit the others: the message holds the values."""


@dataclass(frozen=True, slots=True)
class Window:
    """One step of a walk-forward: chosen on the train range, measured on the test range that follows it."""

    train_from: int
    train_until: int  # of outcomes: what was known later than this does not count
    test_from: int
    test_until: int


def rolling(
    first: int, until: int, *, train: int, test: int, embargo: int = 0, partial: bool = True
) -> Sequence[Window]:
    """Test ranges one after another up to ``until``, each with the ``train`` before it.

    ``partial``: the last test range may be shorter. Outcomes count that were known ``embargo`` before it.

    Raises:
        BadSplits: no room for one test range, more than MAX_WINDOWS, an embargo as long as the training.
    """
    return _windows(first, until, train, test, embargo, partial, is_anchored=False)


def anchored(
    first: int, until: int, *, train: int, test: int, embargo: int = 0, partial: bool = True
) -> Sequence[Window]:
    """As ``rolling``, but every train range begins at ``first`` and is at least ``train`` long."""
    return _windows(first, until, train, test, embargo, partial, is_anchored=True)


def _windows(
    first: int, until: int, train: int, test: int, embargo: int, partial: bool, *, is_anchored: bool
) -> Sequence[Window]:
    given = f"from {first} to {until}: train {train}, test {test}, embargo {embargo}"
    if train < 1 or test < 1 or not 0 <= embargo < train:
        raise BadSplits(f"{given}: needs train > embargo >= 0 and test > 0")
    room = until - first - train
    count = -(-room // test) if partial else room // test
    if not 1 <= count <= MAX_WINDOWS:
        raise BadSplits(f"{given}: {max(count, 0)} windows, 1 to {MAX_WINDOWS} are possible")
    begins = [first + train + test * number for number in range(count)]
    return [
        Window(first if is_anchored else begin - train, begin - embargo, begin, min(begin + test, until))
        for begin in begins
    ]


def trained_on(window: Window, opened: Int64s, closed: Int64s) -> Bools:
    """Which rows (n,) may be chosen by: begun in the train range, their outcomes known when it ended."""
    embargo = window.test_from - window.train_until
    return (opened >= window.train_from) & settled(opened, closed, window.test_from, embargo)


def tested_on(window: Window, opened: Int64s) -> Bools:
    """Which rows (n,) are measured: those begun in the test range, however late their outcome."""
    return (opened >= window.test_from) & (opened < window.test_until)


def equal_groups(first: int, until: int, groups: int, unit: int = DAY_NS) -> Int64s:
    """Edges (groups + 1,) of ranges of about one length that begin with a unit, as a day does at midnight.

    The first and the last may be shorter by a part of a unit.

    Raises:
        BadSplits: fewer units than groups.
    """
    begin = first // unit * unit
    units = -(-(until - begin) // unit)
    if not 2 <= groups <= MAX_GROUPS or units < groups:
        raise BadSplits(
            f"{groups} groups (2 to {MAX_GROUPS}) of {units} times {unit} from {first} to {until}"
        )
    edges = begin + np.arange(groups + 1, dtype=np.int64) * units // groups * unit
    edges[0], edges[-1] = first, until
    return edges


@dataclass(frozen=True, slots=True, eq=False)
class Combinatorial:
    """Combinatorial purged cross-validation: each choice of ``tested`` of the groups is tested once.

    ``edges`` (groups + 1,): where the groups begin, and the last one ends. ``embargo``: rows begun within so
    much after the outcomes of a test range do not count; ``lead``: nor those whose outcome was known only
    within so much before it.

    Source: M. Lopez de Prado, Advances in Financial Machine Learning (2018), 7.4 and 12.4.
    """

    edges: Int64s
    tested: int
    embargo: int = 0
    lead: int = 0

    def __post_init__(self) -> None:
        groups, embargo, lead = self.groups, self.embargo, self.lead
        if not 2 <= groups <= MAX_GROUPS or not (np.diff(self.edges) > 0).all() or embargo < 0 or lead < 0:
            raise BadSplits(
                f"{groups} groups (2 to {MAX_GROUPS}) with rising edges {self.edges.tolist()}, "
                f"embargo {embargo}, lead {lead}"
            )
        count = math.comb(groups, self.tested) if 1 <= self.tested < groups else 0
        if not 1 <= count <= MAX_SPLITS:
            raise BadSplits(
                f"{self.tested} of {groups} groups tested at a time: {count} splits, 1 to {MAX_SPLITS}"
            )

    @property
    def groups(self) -> int:
        return len(self.edges) - 1

    @property
    def paths(self) -> int:
        """How many whole histories the tested groups make: splits * tested / groups."""
        return math.comb(self.groups - 1, self.tested - 1)

    def splits(self) -> Iterator[tuple[int, ...]]:
        """The groups that each split tests, in order."""
        return combinations(range(self.groups), self.tested)

    def path_groups(self) -> Iterator[tuple[int, ...]]:
        """For each split, the path that each of its tested groups belongs to: its own, of all paths."""
        seen = [0] * self.groups
        for split in self.splits():
            yield tuple(seen[group] for group in split)
            for group in split:
                seen[group] += 1

    def known(self, opened: Int64s, closed: Int64s) -> Int64s:
        """When all outcomes of what was begun in each group are known (groups,): not before its end."""
        known = self.edges[1:].copy()
        group = np.searchsorted(self.edges, opened, side="right") - 1
        within = (group >= 0) & (group < self.groups)
        np.maximum.at(known, group[within], closed[within])
        return known

    def trained_on(self, split: Sequence[int], known: Int64s, opened: Int64s, closed: Int64s) -> Bools:
        """Which rows (n,) may be chosen by: in the edges, and overlapping no range that is tested.

        ``known``: of all the rows that are compared, see there.
        """
        kept = (opened >= int(self.edges[0])) & (opened < int(self.edges[-1]))
        for group in split:
            begin, end = int(self.edges[group]), int(known[group])
            before = (closed <= begin - self.lead) & (opened < begin)
            kept &= before | (opened >= end + self.embargo)
        return kept

    def tested_in(self, group: int, opened: Int64s) -> Bools:
        return (opened >= int(self.edges[group])) & (opened < int(self.edges[group + 1]))
