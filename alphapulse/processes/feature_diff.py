"""What two versions of a feature set do not have in common: in their definitions, and in their values."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alphapulse.adapters.files.atomic import folder_beside, remove_folder
from alphapulse.adapters.files.spill import unspilled
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.features import SetDefined
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.row_bytes import Series, joined
from alphapulse.processes.compute_workers import compute_from
from alphapulse.processes.computing import Computed, Report, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChange:
    """``before`` or ``after`` is None where a version does not have the feature; ``fields`` that changed."""

    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def fields(self) -> Sequence[str]:
        if self.before is None or self.after is None:
            return []
        return [name for name, value in self.before.items() if self.after[name] != value]


@dataclass(slots=True, kw_only=True)
class ValueChange:
    """One feature over the rows that both versions have. Two NaN are equal; one alone is a difference."""

    name: str
    rows: int = 0
    differing: int = 0
    max_abs: float = 0.0  # of differences between numbers
    max_rel: float = 0.0  # to the larger of both magnitudes
    first: tuple[str, int, int] | None = (
        None  # instrument, timeframe, start (minutes) of the first that differs
    )

    @property
    def share(self) -> float:
        return self.differing / self.rows if self.rows else 0.0

    def take(self, rows: FeatureRows, before: Floats, after: Floats) -> None:
        """Count in one series; ``rows`` says which bars."""
        differs = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        self.rows += len(before)
        self.differing += int(differs.sum())
        if not differs.any():
            return
        if self.first is None:
            self.first = (rows.instrument, rows.timeframe, int(rows.start[int(np.argmax(differs))]))
        a, b = before[differs], after[differs]
        both = np.isfinite(a) & np.isfinite(b)
        if both.any():
            apart = np.abs(a[both] - b[both])
            larger = np.maximum(np.abs(a[both]), np.abs(b[both]))
            self.max_abs = max(self.max_abs, float(apart.max()))
            self.max_rel = max(self.max_rel, float((apart / larger).max()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``missing``: rows of the first that the second lacks, and the other way round."""

    definition: Sequence[FeatureChange]
    timeframes: tuple[tuple[int, ...], tuple[int, ...]]
    values: Sequence[ValueChange]
    missing: tuple[int, int]

    @property
    def is_empty(self) -> bool:
        same_values = not any(change.differing for change in self.values) and self.missing == (0, 0)
        return same_values and not self.definition and self.timeframes[0] == self.timeframes[1]


def definition_changes(before: SetDefined, after: SetDefined) -> Sequence[FeatureChange]:
    """Features that were added, removed or changed, in the order of the first set and then the second."""
    old = {feature.name: msgspec.structs.asdict(feature) for feature in before.features}
    new = {feature.name: msgspec.structs.asdict(feature) for feature in after.features}
    names = [*old, *(name for name in new if name not in old)]
    return [
        FeatureChange(name=name, before=old.get(name), after=new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    ]


async def difference(
    database_url: str,
    before: Wanted,
    after: Wanted,
    folder: Path,
    *,
    workers: int = 1,
    report: Report = lambda _: None,
) -> Difference:
    """Compute both from the log and hold them against each other; temporary files go beside ``folder``."""
    sides: list[tuple[Path, Computed]] = []
    try:
        for wanted in (before, after):
            side = folder_beside(folder)
            sides.append((side, Computed(parts={})))
            sides[-1] = (
                side,
                await compute_from(database_url, wanted, workers=workers, folder=side, report=report),
            )
        return await asyncio.to_thread(_compared, before, after, sides[0], sides[1])
    finally:
        for side, _ in sides:
            remove_folder(side)


def _compared(
    before: Wanted, after: Wanted, old: tuple[Path, Computed], new: tuple[Path, Computed]
) -> Difference:
    names = [name for name in before.defined.columns if name in after.defined.columns]
    pairs = [(before.defined.columns.index(n), after.defined.columns.index(n)) for n in names]
    changes = [ValueChange(name=name) for name in names]
    missing = [0, 0]
    for series in sorted(old[1].parts.keys() | new[1].parts.keys()):
        left = _series(old, series, len(before.defined.columns))
        right = _series(new, series, len(after.defined.columns))
        if left is None or right is None:
            missing[0] += len(left) if left is not None else 0
            missing[1] += len(right) if right is not None else 0
            continue
        starts, a, b = np.intersect1d(left.start, right.start, assume_unique=True, return_indices=True)
        missing[0] += len(left) - len(starts)
        missing[1] += len(right) - len(starts)
        common = _rows_at(left, a)
        for change, (i, j) in zip(changes, pairs, strict=True):
            change.take(common, left.values[a, i], right.values[b, j])
    return Difference(
        definition=definition_changes(before.defined, after.defined),
        timeframes=(before.defined.timeframes, after.defined.timeframes),
        values=changes,
        missing=(missing[0], missing[1]),
    )


def _series(side: tuple[Path, Computed], series: Series, features: int) -> FeatureRows | None:
    folder, computed = side
    if series not in computed.parts:
        return None
    pieces: Iterator[FeatureRows] = unspilled(folder, series, features)
    return joined(list(pieces))


def _rows_at(rows: FeatureRows, which: Any) -> FeatureRows:
    """Enough of ``rows`` to name one of them."""
    return FeatureRows(
        instrument=rows.instrument,
        timeframe=rows.timeframe,
        start=rows.start[which],
        values=rows.values[:0],
        known_time=rows.known_time[which],
        position=rows.position[which],
        first_position=rows.first_position[which],
        input_position=rows.input_position[which],
        flags=rows.flags[which],
    )
