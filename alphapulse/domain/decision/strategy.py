"""A strategy: who votes, when a candidate is good enough, what it may risk. Versions never change.

Stream ``strategy-{name}``: its events; strategy_decider.py says which can come about. Times are in minutes
where they name a timeframe; ``_bps`` are basis points of the price, ``_ratio`` are fractions. What decides
anything stands in here or in an event of the log, so a decision can be made again from the log alone.
"""

from collections.abc import Mapping

import msgspec

PRODUCTION_GATE = 0.85  # a strategy with a lower gate is research, and every signal of it says so

RESEARCH, PRODUCTION = "research", "production"

# What an adaptation may change, and how: factors on what the strategy says, or (consensus) what is added.
ADAPTABLE = ("stop", "target", "horizon", "size", "consensus")


class VoterChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One seat. ``name`` is unique in the strategy; ``model`` names a fitted model where the kind needs one.

    ``version`` is that of the voter's rule when the strategy was defined.
    """

    name: str
    kind: str
    parameters: dict[str, float] = {}
    model: str = ""
    version: int = 0


class Geometry(msgspec.Struct, frozen=True, kw_only=True):
    """Where stop and target lie, in average true ranges from the entry, and for how many bars they count.

    With ``to_levels`` the stop moves to just beyond the last swing point, and the target to just before one,
    where one lies within half an average true range of them.
    """

    stop_atr: float
    target_atr: float
    horizon_bars: int
    to_levels: bool = False


class Adaptation(msgspec.Struct, frozen=True, kw_only=True):
    """Other parameters while a market is so: the first that fits counts. Empty conditions fit always.

    ``regimes``: of trend_down, range, trend_up, turbulence. ``volatility`` and ``volume``: low, high or
    empty; low and high are ranks under 0.2 and over 0.8 of the volatility among its past values, and ratios
    under 0.5 and over 2 of the volume to its average. ``change``: names of ADAPTABLE.
    """

    name: str
    regimes: tuple[str, ...] = ()
    volatility: str = ""
    volume: str = ""
    change: dict[str, float] = {}


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """When a candidate becomes a signal."""

    threshold: float = PRODUCTION_GATE  # least confidence
    margin: float = 0.03  # least confidence beyond what the geometry and the fees need
    breaker_outcomes: int = 30  # so many before the breaker may close
    breaker_window: int = 100  # the last outcomes that it looks at


class Learning(msgspec.Struct, frozen=True, kw_only=True):
    """How skill is measured and claims are calibrated."""

    half_life: float = 200.0  # outcomes after which one counts half in a voter's skill
    prior_skill: float = 0.02  # Brier skill that a voter is believed to have before anything was measured
    prior_weight: float = 50.0  # in outcomes
    least: int = 300  # resolved candidates before anything is claimed
    least_effective: float = (
        50.0  # outcomes out of fold that do not overlap, before more than the odds is claimed
    )
    refit_ratio: float = (
        0.25  # refit when so many more have been resolved, as a share of those at the last fit
    )
    window: int = 10_000  # the last resolved candidates that a fit looks at


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """Costs, size and limits.

    Shares are of the equity, which begins at 1 and follows the strategy's closed signals.
    """

    fee_bps: float = 5.0  # a side
    slippage_bps: float = 2.0
    sizing: str = "fixed_fractional"  # or volatility_target, kelly
    risk_ratio: float = 0.005  # of equity lost at the stop, by fixed_fractional
    volatility_ratio: float = 0.01  # of equity that one average true range may move, by volatility_target
    kelly_cap: float = 0.25  # share of the full Kelly fraction
    min_size_ratio: float = 0.001  # under which a signal is not worth its number
    max_size_ratio: float = 1.0  # notional of one signal
    max_exposure_ratio: float = 3.0  # notional of all open signals
    max_open: int = 20
    max_per_instrument: int = 1
    max_correlation: float = 0.8  # with an open signal of the same direction in another market
    daily_loss_ratio: float = 0.03  # then no more on that day (UTC, by the venue's clock)
    max_drawdown_ratio: float = 0.15  # then no more until a new version
    cooldown_bars: int = 3  # after a stop, in that market
    depth_ratio: float = 0.1  # of the depth within 10 bps, where a book is known
    capital_quote: float = 10_000.0  # what an equity of 1 stands for, where sizes are held against a book


class StrategyDefined(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Version ``version`` exists from here on. ``instruments`` empty: every market of the log.

    ``parts``: into how many parts of the log the work is divided; what is learnt is learnt within a part.
    ``label`` is research where the gate is under PRODUCTION_GATE.
    """

    name: str
    version: int
    owner: str
    description: str
    timeframes: tuple[int, ...]
    voters: tuple[VoterChoice, ...]
    geometries: tuple[Geometry, ...]
    instruments: tuple[str, ...] = ()
    reference: str = ""  # venue:symbol, for voters that look at another market
    quorum: float = 2.0  # voters, copies of one another counted once
    min_consensus: float = 0.2
    sharpness: float = 2.0  # log-odds that a consensus of 1 adds to the odds of the geometry
    gate: Gate = Gate()
    learning: Learning = Learning()
    risk: Risk = Risk()
    adaptations: tuple[Adaptation, ...] = ()
    parts: int = 1
    label: str = PRODUCTION
    code_versions: dict[str, int] = {}  # of the indicators that its voters and the engine look at
    digest: str = ""  # of all that decides: not of name, owner, description


class StrategyRetired(msgspec.Struct, frozen=True, kw_only=True):
    """From here on this version decides nothing; what is open is watched to its end."""

    name: str
    version: int
    reason: str


def stream_of(name: str) -> str:
    return f"strategy-{name}"


def change_of(adaptation: Adaptation | None) -> Mapping[str, float]:
    """Every name of ADAPTABLE with its factor (or, for consensus, what is added)."""
    given = {} if adaptation is None else adaptation.change
    return {name: given.get(name, 0.0 if name == "consensus" else 1.0) for name in ADAPTABLE}
