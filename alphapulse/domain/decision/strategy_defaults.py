"""A strategy to begin with: some voter of every school, three geometries, a gate of 85 %."""

from alphapulse.domain.decision.strategy import Adaptation, Geometry, VoterChoice
from alphapulse.domain.decision.strategy_decider import DefineStrategy

SEATS: tuple[str, ...] = (
    "technical.trend",
    "technical.crossing",
    "technical.breakout",
    "technical.momentum",
    "technical.money_flow",
)
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
    """On all markets of the log; nothing in it needs a fitted model, funding rates or news."""
    return DefineStrategy(
        name=name,
        owner=owner,
        description="Some voter of every school; to begin with, and to compare others with.",
        timeframes=timeframes,
        voters=tuple(VoterChoice(name=kind.partition(".")[2], kind=kind) for kind in SEATS),
        geometries=GEOMETRIES,
        adaptations=ADAPTATIONS,
    )
