"""What else may be known when a bar has closed: funding rates, sentiment, another market."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.fields import Floats


class ContextSource(Protocol):
    """Columns of votes.CONTEXT for rows of a market. It has a state of its own, which follows from the log.

    An engine calls ``fold`` with every event that is not of a market, between the rows before it and those
    after it. Bars of ``markets`` are handed to ``closed`` as they end, perhaps some events ahead of the
    rows that ``columns`` is asked for: bars of a higher position, or known later, than a row must not show in
    its columns. Otherwise how the log is cut into calls changes nothing.
    """

    @property
    def names(self) -> Sequence[str]:
        """The columns that it gives, of votes.CONTEXT."""
        ...

    @property
    def markets(self) -> frozenset[str]:
        """Instruments (venue:symbol) whose bars it wants, decided on or not."""
        ...

    def fold(self, position: int, instrument: str, event: Any) -> None:
        """Take an event that is not of a market (funding, news …); unknown ones are passed over."""
        ...

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        """Take bars, by timeframe, of one of ``markets``."""
        ...

    def columns(self, instrument: str, timeframe: int, closed: Closed) -> Mapping[str, Floats]:
        """For each bar of ``closed`` what was known when it was: (R,) by name, NaN where nothing was."""
        ...

    def packed(self) -> bytes: ...

    def restore(self, data: bytes) -> None:
        """Go back to where ``packed`` was called; empty bytes: to the beginning."""
        ...
