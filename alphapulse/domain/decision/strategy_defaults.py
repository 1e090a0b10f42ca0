"""A strategy to begin with: voters of every school, three geometries, a gate of 85 %."""

from collections.abc import Mapping

from alphapulse.domain.decision.strategy import Adaptation, Geometry, VoterChoice
from alphapulse.domain.decision.strategy_decider import DefineStrategy

SEATS: Mapping[str, Mapping[str, float]] = {
    "technical.trend": {},
    "technical.alignment": {"second": 0},  # bars of 4 h would take five days to tell their trend
    "technical.breakout": {},
    "technical.momentum": {},
    "technical.divergence": {},
    "technical.levels": {},
    "technical.volume": {},
    "technical.patterns_double": {},
    "statistical.momentum": {},
    "statistical.reversion": {},
    "statistical.forecast": {},
    "fundamental.funding": {},
}
GEOMETRIES = (
    Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=48),
    Geometry(stop_atr=2.0, target_atr=3.0, horizon_bars=96),
    Geometry(stop_atr=2.0, target_atr=1.0, horizon_bars=48, to_levels=True),
)
ADAPTATIONS = (
    Adaptation(name="turbulence", regimes=("turbulence",), change={"stop": 1.5, "target": 1.5, "size": 0.5}),
    Adaptation(name="thin", volume="low", change={"size": 0.5, "consensus": 0.1}),
)


def default_strategy(
    name: str, *, owner: str = "alphapulse", timeframes: tuple[int, ...] = (5,)
) -> DefineStrategy:
    """On all markets of the log, by bars of up to 60 minutes: no seat needs a fitted model.

    The voter of funding abstains where none is known.
    """
    return DefineStrategy(
        name=name,
        owner=owner,
        description="Voters of every school; to begin with, and to compare others with.",
        timeframes=timeframes,
        voters=tuple(
            VoterChoice(name=kind.replace(".", "_"), kind=kind, parameters=dict(numbers))
            for kind, numbers in SEATS.items()
        ),
        geometries=GEOMETRIES,
        adaptations=ADAPTATIONS,
    )
