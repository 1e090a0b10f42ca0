"""What was decided and why, also where the answer was no; how claims were calibrated; what parameters count.

Stream ``decisions-{venue}-{symbol}-{strategy}.{version}``: DecisionMade, ParametersAdapted and (see
domain/signals) OutcomeRecorded of one market under one strategy version, in the order in which they follow
from the log: the n-th event of the stream is the n-th that the log gives. Stream
``calibration-{strategy}.{version}-{part}``: CalibrationFitted. Every number of a decision can be derived
again from the numbers beside it, from the calibration it names and from the bars up to ``position``. Times
are ns by the venue's clock, prices in quote currency.
"""

import msgspec

ISSUED, REFUSED = "issued", "refused"

# Why a candidate was refused: short, stable words; DecisionMade.notes says it in full.
UNCALIBRATED, LOW_CONFIDENCE, DOES_NOT_PAY, BREAKER, CAPACITY, BAD_LEVELS, NO_SKILL, VETO = (
    "uncalibrated",
    "low_confidence",
    "does_not_pay",
    "breaker",
    "capacity",  # as many ideas of the market are open as are watched
    "bad_levels",  # no geometry gives levels that make sense at this price
    "no_skill",  # nobody that votes has shown any in such a market
    "veto",
)


class CastVote(msgspec.Struct, frozen=True, kw_only=True):
    """One voter's part in a decision.

    ``skill``: its Brier skill against the odds of the geometry in this market, timeframe and regime, measured
    over ``outcomes`` (decayed count) and shrunk to ``prior``. ``crowd``: how many voters it counts as one of.
    ``weight`` = max(skill, 0) / crowd, over the sum of all; 1 / crowd where nobody that votes has any skill.
    """

    voter: str
    version: int
    direction: int
    score: float
    measured: float
    outcomes: float
    prior: float
    skill: float
    crowd: float
    weight: float
    model: str = ""  # name.version of the fitted model
    reasons: tuple[str, ...] = ()


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """One geometry that was weighed.

    ``base`` = stop distance / (stop + target distance), ``raw`` log-odds of the target first,
    ``expected_bps`` by the raw odds after costs.
    """

    stop: float
    target: float
    horizon_end: int
    base: float
    raw: float
    expected_bps: float


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """``confidence`` = the calibration's table at ``raw``: between the knots (x0, p0) and (x1, p1)."""

    calibration: int  # number of the CalibrationFitted of this part; 0: none yet
    raw: float
    x0: float
    p0: float
    x1: float
    p1: float
    confidence: float


class GateReading(msgspec.Struct, frozen=True, kw_only=True):
    """``needed`` = (stop distance + costs) / (target + stop distance); ``margin`` = confidence - needed.

    The breaker: ``wins`` of the last ``outcomes`` candidates of this market and timeframe that passed the
    other two rules, their mean claim, and the upper bound of the win rate.
    """

    threshold: float
    needed: float
    margin: float
    required_margin: float
    wins: float
    outcomes: float
    mean_claim: float
    upper_bound: float
    is_closed: bool


class DecisionMade(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate: enough voters agreed on a direction when a bar had closed.

    ``verdict`` says what became of it.
    """

    decision: str  # id: strategy.version/venue:symbol/timeframe/bar start in minutes
    strategy: str
    strategy_version: int
    instrument: str
    timeframe: int
    bar_start: int  # minutes
    time: int  # known time of the bar
    position: int  # of the event that ended the bar
    first_position: int  # of what its features were made of
    input_position: int
    flags: int  # of the row, see features.py
    side: int
    entry: float  # the close
    stop: float
    target: float
    horizon_end: int
    regime: str
    average_true_range: float
    parameters: str  # the adaptation in force; empty: none
    votes: tuple[CastVote, ...]
    consensus: float
    disagreement: float
    voters: float  # those that voted, copies counted once
    proposed: tuple[Proposed, ...]
    chosen: int
    claim: Claim
    gate: GateReading
    verdict: str
    refusals: tuple[str, ...]
    notes: tuple[str, ...]  # each refusal in words, with its values; also vetoes
    size_ratio: float  # of equity; 0 where nothing was issued
    label: str  # production or research


class ParametersAdapted(msgspec.Struct, frozen=True, kw_only=True):
    """From the bar on, this market is decided with other parameters."""

    strategy: str
    strategy_version: int
    instrument: str
    timeframe: int
    bar_start: int
    time: int
    position: int
    before: str
    after: str
    change: dict[str, float]
    notes: tuple[str, ...]


class CalibrationFitted(msgspec.Struct, frozen=True, kw_only=True):
    """From ``position`` on, claims of this part follow this table: raw log-odds ``x`` to confidence ``p``.

    Fitted on ``candidates`` resolved ones: decided from ``first_time`` to ``last_time``, all resolved by
    ``known_until``. ``scores``: out-of-fold log loss of each method. ``priors``: pooled Brier skill of
    "voter|regime|timeframe" with the outcomes behind it.
    """

    strategy: str
    strategy_version: int
    part: int
    number: int
    position: int
    method: str
    why: str
    x: tuple[float, ...]
    p: tuple[float, ...]
    lower: tuple[float, ...]
    parameters: dict[str, float]
    scores: dict[str, float]
    candidates: int
    wins: int
    effective: float  # candidates, overlap-adjusted
    first_time: int
    last_time: int
    known_until: int
    first_position: int
    last_position: int
    brier_skill: float
    ece: float
    priors: dict[str, tuple[float, float]] = {}


def stream_of(instrument: str, strategy: str, version: int) -> str:
    """Of the decisions on ``instrument`` (venue:symbol): parts of the log keep it beside its market."""
    venue, symbol = instrument.split(":", 1)
    return f"decisions-{venue}-{symbol}-{strategy}.{version}"


def calibration_stream(strategy: str, version: int, part: int) -> str:
    return f"calibration-{strategy}.{version}-{part}"


def decision_id(strategy: str, version: int, instrument: str, timeframe: int, bar_start: int) -> str:
    return f"{strategy}.{version}/{instrument}/{timeframe}/{bar_start}"


def bar_of(decision: str) -> int:
    """The start of the bar, in minutes, that a decision of this id was made on."""
    return int(decision.rpartition("/")[2])
