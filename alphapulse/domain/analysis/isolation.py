"""Anomalies over several features at once: what an isolation forest says of bars, and of which bars it may.

A tree cuts the features at random until a row stands alone; what stands alone after few cuts is unusual. The
forest is fitted elsewhere and comes through the Scorer port. A score is 2**(-mean depth / expected
depth): near 1 unusual, 0.5 and less ordinary.

Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, Isolation Forest (ICDM 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.columns import Column, column_values, plan_of
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.models import BadModel
from alphapulse.domain.ports import Scorer

KIND = "isolation_forest"
NO_MODEL = 0  # in place of a version
MAX_WINDOW = 200_000  # bars
MAX_FOREST_FEATURES = 32

# Each has a value on any bars of prices and volumes; takers' side and number of trades are not always told.
FEATURES = (
    "price_anomaly.score", "range_anomaly.score", "volume_anomaly.score",
    "volume_confirmation.move", "volume_confirmation.ratio",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ForestRecipe:
    """What the person chooses. The forest is fitted on the last ``window`` bars that have all features."""

    features: tuple[str, ...] = FEATURES
    trees: int = 100
    sample: int = 256  # bars that a tree is grown on
    window: int = 20_000
    seed: int = 1

    def __post_init__(self) -> None:
        """Raises BadModel when something is out of range, BadParameter when a feature is none."""
        for name, low, high in (
            ("trees", 1, 500), ("sample", 16, 4_096), ("window", 64, MAX_WINDOW), ("seed", 0, 2**31),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise BadModel(f"{name} {getattr(self, name)}: {low} to {high} are allowed")
        if self.sample > self.window:
            raise BadModel(f"samples of {self.sample} from a window of {self.window} bars")
        if not 1 <= len(self.features) <= MAX_FOREST_FEATURES or len(set(self.columns)) < len(self.features):
            raise BadModel(f"features {self.features}: 1 to {MAX_FOREST_FEATURES} different ones are needed")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column.parse(text) for text in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """The features in full, with all their parameters."""
        return tuple(str(column) for column in self.columns)

    def as_data(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("trees", "sample", "window", "seed")}

    def code_versions(self) -> dict[str, int]:
        return {spec.indicator: spec.known.code_version for spec in plan_of(self.columns).specs}


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """For T bars: which version spoke (NO_MODEL: none did) and how unusual it found the bar, 0 to 1."""

    version: Int64s
    score: Floats  # NaN where no version spoke or a feature is missing


@dataclass(frozen=True, slots=True)
class Version:
    """A fitted forest, and the moment (ns) by which all that it was fitted on was known."""

    version: int
    known_time: int
    scorer: Scorer


def feature_rows(features: Sequence[str], bars: Bars) -> Floats:
    """(T, features), as registered indicators give them. Row t depends on bars up to t."""
    columns = [Column.parse(text) for text in features]
    return np.ascontiguousarray(column_values(columns, bars.values).T)


def score_bars(versions: Sequence[Version], bars: Bars, *, since: int = 0) -> Scored:
    """How unusual each bar is to the last of ``versions`` that was fitted on earlier bars only.

    ``bars`` reach back far enough for the features to have their values; those before row ``since`` get no
    score. Versions in their order, all of the same features.
    """
    result = Scored(np.full(len(bars), NO_MODEL), np.full(len(bars), np.nan))
    if not versions or not len(bars):
        return result
    rows = feature_rows(versions[0].scorer.features, bars)
    cutoffs = np.array([v.known_time for v in versions])
    chosen = np.searchsorted(cutoffs, bars.known_time, side="left") - 1
    chosen[:since] = -1
    for nth, version in enumerate(versions):
        mine = chosen == nth
        if mine.any():
            result.score[mine] = version.scorer.score(rows[mine])
            result.version[mine] = version.version
    return result
