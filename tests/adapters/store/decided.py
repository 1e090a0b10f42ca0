"""What decisions put into the log: an example of each event, and any such event for properties."""

from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from alphapulse.domain.backtest.trials import TrialRecorded
from alphapulse.domain.decision.decisions import (
    CalibrationFitted,
    CastVote,
    Claim,
    DecisionMade,
    GateReading,
    ParametersAdapted,
    Proposed,
)
from alphapulse.domain.decision.strategy import (
    Adaptation,
    Geometry,
    StrategyDefined,
    StrategyRetired,
    VoterChoice,
)
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.signal import ExitRecommended, OutcomeRecorded, SignalClosed, SignalIssued

DECIDED = (
    StrategyDefined,
    StrategyRetired,
    DecisionMade,
    ParametersAdapted,
    CalibrationFitted,
    SignalIssued,
    ExitRecommended,
    SignalClosed,
    OutcomeRecorded,
    TrialRecorded,
)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def any_of(type_: Any) -> st.SearchStrategy[Any]:
    """Any value of the field type ``type_``; of a struct, with anything in its fields."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        fields = msgspec.structs.fields(type_)
        return st.builds(type_, **{field.name: any_of(field.type) for field in fields})
    match get_origin(type_), get_args(type_):
        case None, _:
            return _PLAIN[type_]
        case origin, (item, last) if origin is tuple and last is ...:
            return st.lists(any_of(item), max_size=2).map(tuple)
        case origin, items if origin is UnionType:
            return st.one_of(*map(any_of, items))
        case origin, items if origin is tuple:
            return st.tuples(*map(any_of, items))
        case _, (key, value):
            return st.dictionaries(any_of(key), any_of(value), max_size=2)
    raise TypeError(f"no values for {type_}")


_TIME = 1_700_000_100_000_000_000
_DECISION = "default.2/kraken:BTC-USD/5/28333335"
_OF_STRATEGY: dict[str, Any] = {"strategy": "default", "strategy_version": 2}
_OF_MARKET: dict[str, Any] = {"instrument": "kraken:BTC-USD", "timeframe": 5}

DECISION = DecisionMade(
    **_OF_STRATEGY,
    **_OF_MARKET,
    decision=_DECISION,
    bar_start=28_333_335,
    time=_TIME,
    position=1_034,
    first_position=12,
    input_position=1_020,
    flags=1,
    side=1,
    entry=37_000.5,
    stop=36_800.25,
    target=37_200.75,
    horizon_end=_TIME + 14_400_000_000_000,
    regime="trend_up",
    average_true_range=133.5,
    parameters="thin",
    votes=(
        CastVote(
            voter="trend",
            version=1,
            direction=1,
            score=0.75,
            measured=0.04,
            outcomes=120.5,
            prior=0.02,
            skill=0.034,
            crowd=1.25,
            weight=1.0,
            model="btc-5m.3",
            reasons=("ADX 31.2 is over 20",),
        ),
    ),
    consensus=0.75,
    disagreement=0.0,
    voters=2.5,
    proposed=(
        Proposed(
            stop=36_800.25,
            target=37_200.75,
            horizon_end=_TIME + 14_400_000_000_000,
            base=0.5,
            raw=1.5,
            expected_bps=22.5,
        ),
    ),
    chosen=0,
    claim=Claim(calibration=3, raw=1.5, x0=1.25, p0=0.82, x1=1.75, p1=0.9, confidence=0.86),
    gate=GateReading(
        threshold=0.85,
        needed=0.61,
        margin=0.25,
        required_margin=0.03,
        wins=41.0,
        outcomes=48.0,
        mean_claim=0.87,
        upper_bound=0.93,
        is_closed=True,
    ),
    verdict="refused",
    refusals=("veto",),
    notes=("veto: max_open 20 of 20 signals are open",),
    size_ratio=0.0,
    label="production",
)
OUTCOME = Outcome(
    reason="target",
    label=1,
    worst_label=1,
    best_label=1,
    exit_price=37_200.75,
    worst_price=37_200.75,
    best_price=37_200.75,
    fill_price=37_200.75,
    gross_bps=54.125,
    net_bps=42.125,
    r_multiple=1.0,
    net_r_multiple=0.78,
    mfe_bps=54.125,
    mae_bps=12.5,
    holding_ns=3_600_000_000_000,
    closed_at=_TIME + 3_600_000_000_000,
    unseen_from=0,
    unseen_until=0,
    position=1_100,
)
STRATEGY = StrategyDefined(
    name="default",
    version=2,
    owner="research",
    description="To begin with.",
    timeframes=(5,),
    voters=(VoterChoice(name="trend", kind="technical.trend", parameters={"least": 20.0}, version=1),),
    geometries=(Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=48),),
    adaptations=(Adaptation(name="thin", volume="low", change={"size": 0.5}),),
    code_versions={"atr": 1},
    digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)
EXAMPLES: tuple[object, ...] = (
    STRATEGY,
    StrategyRetired(name="default", version=1, reason="replaced by version 2"),
    DECISION,
    ParametersAdapted(
        **_OF_STRATEGY,
        **_OF_MARKET,
        bar_start=28_333_335,
        time=_TIME,
        position=1_034,
        before="",
        after="thin",
        change={"size": 0.5},
        notes=("volume 0.41 of its average is under 0.5",),
    ),
    CalibrationFitted(
        **_OF_STRATEGY,
        part=0,
        number=3,
        position=1_030,
        method="beta",
        why="least log loss out of fold: 0.612 against 0.615 (platt)",
        x=(-1.0, 1.0),
        p=(0.25, 0.75),
        lower=(0.2, 0.7),
        parameters={"a": 1.5},
        scores={"beta": 0.612, "platt": 0.615},
        candidates=400,
        wins=210,
        effective=180.5,
        first_time=_TIME - 864_000_000_000_000,
        last_time=_TIME - 3_600_000_000_000,
        known_until=_TIME,
        first_position=12,
        last_position=1_029,
        brier_skill=0.03,
        ece=0.015,
        priors={"trend|trend_up|5": (0.03, 120.5)},
    ),
    SignalIssued(
        **_OF_STRATEGY,
        **_OF_MARKET,
        number=7,
        decision=_DECISION,
        side=1,
        time=_TIME,
        entry=37_000.5,
        stop=36_800.25,
        targets=(37_200.75,),
        confidence=0.86,
        horizon_end=_TIME + 14_400_000_000_000,
        size_ratio=0.5,
        calibration=3,
        models=("btc-5m.3",),
        position=1_034,
        label="production",
    ),
    ExitRecommended(
        strategy="default",
        number=7,
        decision="default.2/kraken:BTC-USD/5/28333340",
        time=_TIME + 300_000_000_000,
        price=37_050.0,
        consensus=-0.5,
        reasons=("supertrend turned down",),
    ),
    SignalClosed(
        strategy="default",
        number=7,
        decision=_DECISION,
        time=_TIME + 3_600_000_000_000,
        reason="target",
        price=37_200.75,
        net_bps=42.125,
        r_multiple=1.0,
        equity=1.00210625,
    ),
    OutcomeRecorded(
        **_OF_STRATEGY,
        **_OF_MARKET,
        decision=_DECISION,
        side=1,
        number=7,
        confidence=0.86,
        outcome=OUTCOME,
    ),
    TrialRecorded(
        strategy="default",
        trial="5d41402abc4b2a76",
        kind="walk_forward",
        group="7d793037a0760186",
        configuration=STRATEGY,
        source="bars.csv",
        sha256=(STRATEGY.digest,),
        first_position=1,
        last_position=1_200,
        first_time=_TIME,
        last_time=_TIME + 86_400_000_000_000,
        settings={"latency_ms": 250.0},
        decisions=12,
        signals=3,
        trades=2,
        decisions_digest=STRATEGY.digest,
        outcomes_digest=STRATEGY.digest,
        days=2,
        sharpe=0.125,
        figures={"win_rate": 0.5, "calmar": None},
        code_version="0.1.0",
    ),
)
