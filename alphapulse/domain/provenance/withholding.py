"""Commit, then reveal: what an export keeps back while it could give an open signal away.

Whatever a strategy says at a moment is kept back for the longest horizon that any of its versions knows:
then every signal that was open at that moment is over, and so is whatever was said beside it. Candidates
that were refused count too, since they say which way the voters look, and vetoes name what is open. What
became of a candidate comes out with the candidate. The definition of a strategy is never kept back: it says
how long the longest horizon is, by which anybody sees whether something was kept back for too long.

Leaves, numbers and salted commitments are published at once: stream, name and times of an event, so also
which market a decision was about, and when. Not the direction, not a price, not a byte of the body.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.leaf import microseconds
from alphapulse.domain.signals.idea import DAY_NS, MAX_HORIZON_DAYS
from alphapulse.domain.signals.signal import SignalIssued

LONGEST_NS = MAX_HORIZON_DAYS * DAY_NS  # of strategies that nobody defined

# By the beginning of a stored name: events whose bodies may give away what is open.
_OUTCOME, _CLOSED = "outcome.recorded.", "signal.closed."
TELLING = (
    "decision.made.",
    "decision.parameters_adapted.",
    "signal.issued.",
    "signal.exit_recommended.",
    _CLOSED,
    _OUTCOME,
    "trial.recorded.",
)


def longest_horizon(strategy: StrategyDefined) -> int:
    """How long any of its signals may stay open, in ns."""
    bars = max(geometry.horizon_bars for geometry in strategy.geometries)
    factor = max((each.change.get("horizon", 1.0) for each in strategy.adaptations), default=1.0)
    lasts = int(bars * max(factor, 1.0) + 1) * max(strategy.timeframes) * MINUTE_NS
    return min(lasts, LONGEST_NS)


def longest_horizons(strategies: Iterable[StrategyDefined]) -> Mapping[str, int]:
    """By name, over all versions."""
    found: dict[str, int] = {}
    for strategy in strategies:
        found[strategy.name] = max(longest_horizon(strategy), found.get(strategy.name, 0))
    return found


def strategy_of(stream: str) -> str | None:
    """Whose events a stream of decisions, signals or trials holds; None where it is none of these."""
    category, _, rest = stream.partition("-")
    if category in ("signals", "trials"):
        return rest
    if category == "decisions":
        return stream.split("-", 3)[-1].rpartition(".")[0]
    return None


@dataclass(frozen=True, slots=True)
class Withholding:
    """The rule as it stands when the clock of the log has come to ``now`` (ns since 1970 UTC).

    ``longest``: see longest_horizons. ``decided``: when each signal was, by the id of its decision.
    """

    now: int
    longest: Mapping[str, int]
    decided: Mapping[str, int]

    def __call__(self, record: StoredRecord, event: bytes | None) -> bool:
        """Whether the body of ``record`` is kept back; ``event`` is what it says, as JSON."""
        strategy = strategy_of(record.stream)
        if strategy is None or not record.name.startswith(TELLING):
            return False
        return self._moment(record, event) + self.longest.get(strategy, LONGEST_NS) > self.now

    def _moment(self, record: StoredRecord, event: bytes | None) -> int:
        """When what the body is about was decided, or said."""
        said = record.envelope.event_time
        moment = microseconds(record.recorded_at) * 1_000 if said is None else said
        if event is None or not record.name.startswith((_OUTCOME, _CLOSED)):
            return moment
        body: dict[str, Any] = msgspec.json.decode(event)
        if record.name.startswith(_OUTCOME):
            return int(body["outcome"]["closed_at"]) - int(body["outcome"]["holding_ns"])
        return self.decided.get(body["decision"], moment)


def withholding(
    now: int, strategies: Iterable[StrategyDefined], issued: Iterable[SignalIssued]
) -> Withholding:
    """The rule over all that was defined and issued up to ``now``."""
    return Withholding(now, longest_horizons(strategies), {signal.decision: signal.time for signal in issued})
