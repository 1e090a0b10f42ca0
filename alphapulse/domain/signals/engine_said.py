"""Who said what of the rows of a sheet, for the few that became decisions: asked again when it is wanted.

A voter's answer to a row depends on that row alone, so what it said of the row among thousands it says of
the row among the few that are kept.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.signals import engine_rows as rows_
from alphapulse.domain.signals.engine_rows import Ballot, Lookout, Seat, Sheet

KEPT_WHOLE = 256  # rows: a sheet of no more stays as it is, with what was said of it


class Said:
    """The ballot on ``sheet``; after ``keep`` on some of its rows."""

    def __init__(
        self,
        sheet: Sheet,
        ballot: Ballot,
        seats: Sequence[Seat],
        lookouts: Mapping[tuple[str, int], Lookout],
    ) -> None:
        self._sheet: Sheet = sheet
        self._ballot: Ballot | None = ballot
        self._seats, self._lookouts = seats, lookouts
        self._kept: Int64s | None = None

    def keep(self, rows: Int64s) -> None:
        """Let go of all but ``rows``."""
        if len(self._sheet) > KEPT_WHOLE:
            self._kept = np.unique(rows)
            self._sheet, self._ballot = self._sheet.take(self._kept), None

    def reasons(self, place: int, row: int) -> tuple[str, ...]:
        """Of seat ``place``, on a row that was kept; why nobody sits there, where that is so."""
        seat = self._seats[place]
        if seat.voter is None:
            return (seat.absent,)
        if self._ballot is None:
            self._ballot = rows_.ballot(self._sheet, self._seats, self._lookouts)
        at = row if self._kept is None else int(np.searchsorted(self._kept, row))
        return self._ballot.reasons(place, at)
