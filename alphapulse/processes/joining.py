"""Labels joined with exported features by what was known: a training set that cannot look ahead."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alphapulse.adapters.files.labels import read_labels, write_joined
from alphapulse.adapters.files.parquet_features import feature_names, read_features
from alphapulse.domain.analysis.point_in_time import FeatureTable, join

MAX_CELLS = 500_000_000  # rows times features of the export: 4 GB


class TooManyRows(Exception):
    """The export is larger than is joined in memory: export fewer instruments, or a shorter time."""


class NoSuchTimeframe(Exception):
    """The export has no rows of that timeframe."""


@dataclass(frozen=True, slots=True)
class JoinedLabels:
    labels: int
    found: int  # labels for which something was known
    features: int


def join_labels(
    export: Path, labels: Path, output: Path, *, timeframe: int, max_age_ns: int | None = None
) -> JoinedLabels:
    """Write ``labels`` to ``output`` (Parquet) with the features of ``export`` that were known at each.

    Raises:
        BadLabels, NoSuchTimeframe, TooManyRows: see there. Nothing is written then.
    """
    rows = _rows(export, timeframe)
    table, wanted = read_labels(labels)
    joined = join(rows, wanted, max_age_ns=max_age_ns)
    write_joined(output, table, rows, joined)
    return JoinedLabels(len(joined.row), int((joined.row >= 0).sum()), len(joined.columns))


def _rows(export: Path, timeframe: int) -> FeatureTable:
    names, pieces, cells, others = feature_names(export), [], 0, set[int]()
    for piece in read_features(export):
        if piece.timeframe != timeframe:
            others.add(piece.timeframe)
            continue
        cells += len(piece) * max(1, len(names))
        if cells > MAX_CELLS:
            raise TooManyRows(f"{export}: over {MAX_CELLS} values of {timeframe} minutes")
        pieces.append(piece)
    if not pieces:
        there = ", ".join(str(t) for t in sorted(others)) or "none"
        raise NoSuchTimeframe(f"{export}: no rows of {timeframe} minutes, there are rows of {there}")
    return FeatureTable(
        columns=names,
        instrument=[piece.instrument for piece in pieces for _ in range(len(piece))],
        start=np.concatenate([piece.start for piece in pieces]),
        known_time=np.concatenate([piece.known_time for piece in pieces]),
        position=np.concatenate([piece.position for piece in pieces]),
        values=np.concatenate([piece.values for piece in pieces]),
    )
