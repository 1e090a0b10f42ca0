"""Walk-forward: when a model of hidden states is refitted, and which of its versions speaks for a bar.

A bar is only ever scored by the last version whose training was known before the bar itself. What was
fitted later, on whatever it was, cannot reach it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.columns import Column, column_values, plan_of
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.mixture import KINDS, MAX_DIMENSIONS, MAX_STATES, hidden
from alphapulse.domain.analysis.models import BadModel, FittedModel

NO_MODEL = 0  # in place of a version
MAX_WINDOW = 200_000  # bars


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the person chooses. The states are put in order by the first feature: let it be a volatility.

    The first fit is on the first ``window`` bars in which every feature has a value, the next ones follow
    every ``every`` bars, on the last ``window`` bars or, ``expanding``, on all since the beginning (of
    these at most 200,000). ``starts`` fits are begun at seeded points, the most likely one is kept.
    """

    kind: str  # regime_gmm or regime_hmm
    features: tuple[str, ...]
    states: int = 2
    window: int = 1_000
    every: int = 250
    expanding: bool = False
    starts: int = 3
    iterations: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises BadModel when something is out of range, BadParameter when a feature is none."""
        for name, low, high in (
            ("states", 1, MAX_STATES), ("window", 50, MAX_WINDOW), ("every", 1, MAX_WINDOW),
            ("starts", 1, 50), ("iterations", 1, 1_000), ("seed", 0, 2**31),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise BadModel(f"{name} {getattr(self, name)}: {low} to {high} are allowed")
        if self.kind not in KINDS:
            raise BadModel(f"{self.kind!r} is none of {', '.join(KINDS)}")
        if not 1 <= len(self.features) <= MAX_DIMENSIONS or len(set(self.columns)) < len(self.features):
            raise BadModel(f"features {self.features}: 1 to {MAX_DIMENSIONS} different ones are needed")
        if self.window < 10 * self.states * len(self.features):
            raise BadModel(f"a window of {self.window} bars is too short for {self.states} states")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column.parse(text) for text in self.features)

    def as_data(self) -> dict[str, int | bool]:
        names = ("states", "window", "every", "expanding", "starts", "iterations", "seed")
        return {name: getattr(self, name) for name in names}

    def feature_rows(self, bars: Bars) -> Floats:
        """(T, D)"""
        return np.ascontiguousarray(column_values(self.columns, bars.values).T)

    def code_versions(self) -> dict[str, int]:
        return {spec.indicator: spec.known.code_version for spec in plan_of(self.columns).specs}

    def trainings(self, count: int) -> Iterator[slice]:
        """The rows of each training among ``count`` bars, in order of time."""
        first = plan_of(self.columns).lookback
        for end in range(first + self.window, count + 1, self.every):
            begin = max(first, end - MAX_WINDOW) if self.expanding else end - self.window
            yield slice(begin, end)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """For T bars: which version spoke (NO_MODEL: none did), and how probable it held each state."""

    version: Int64s  # (T,)
    probabilities: Floats  # (T, K), NaN where no version spoke

    @property
    def state(self) -> Floats:
        """(T,) the most probable state, 0 the calmest; NaN where there is none."""
        known = np.isfinite(self.probabilities[:, 0])
        best = np.argmax(np.nan_to_num(self.probabilities), axis=1)
        return np.where(known, best, np.nan)


def score(models: Sequence[tuple[int, FittedModel]], bars: Bars) -> Scored:
    """Probabilities of the states of ``bars`` under the (version, model) that each may know.

    ``bars`` reach back at least to where the features of the first training begin, or answers differ from
    those of a longer history; versions in their order. A Markov model's filter begins at the last
    ``window`` bars of its training.
    """
    states = max((len(model.parameters["means"]) for _, model in models), default=1)
    result = Scored(np.full(len(bars), NO_MODEL), np.full((len(bars), states), np.nan))
    if not models or not len(bars):
        return result
    columns = [Column.parse(text) for text in models[0][1].features]
    rows = np.ascontiguousarray(column_values(columns, bars.values).T)
    cutoffs = np.array([model.trained.known_time for _, model in models])
    chosen = np.searchsorted(cutoffs, bars.known_time, side="left") - 1
    for nth, (version, model) in enumerate(models):
        mine = np.flatnonzero(chosen == nth)
        if len(mine):
            begin = _filter_begin(model, bars)
            _score_version(model, rows[begin : mine[-1] + 1], mine - begin, mine, result)
            result.version[mine] = version
    return result


def _filter_begin(model: FittedModel, bars: Bars) -> int:
    first, end = np.searchsorted(bars.start, [model.trained.first_start, model.trained.last_start + 1])
    return int(max(first, end - model.recipe["window"]))


def _score_version(model: FittedModel, rows: Floats, inside: Int64s, mine: Int64s, result: Scored) -> None:
    probabilities, _ = hidden(model.kind, model.parameters).advance(rows)
    result.probabilities[mine, : probabilities.shape[1]] = probabilities[inside]
