"""Every configuration that was tried, for ever: how many there were decides what the best one is worth.

Stream ``trials-{strategy}``: TrialRecorded. ``strategy`` names the family that was searched; a trial's
id is a digest of what was tried and on what, so trying the same again is not another trial.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import msgspec

from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import digest_of


class TrialRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """``sharpe`` is per day, not annualised, of ``days`` daily returns; None: fewer than two days."""

    strategy: str
    trial: str  # id
    kind: str  # backtest, walk_forward, cross_validation, sweep, counterfactual
    group: str  # of the trials of one search: a digest of all of it; a single backtest is its own
    configuration: StrategyDefined  # as it was run
    source: str  # log, or the names of files
    sha256: tuple[str, ...]  # of the files
    first_position: int  # of the log that was read
    last_position: int
    first_time: int  # ns: decisions from here on count
    last_time: int  # up to here
    settings: dict[str, float]  # latency_ms and what else changes the result
    decisions: int
    signals: int
    trades: int  # signals that were resolved
    decisions_digest: str  # SHA-256 over all decisions, in their order
    outcomes_digest: str
    days: int
    sharpe: float | None
    figures: dict[str, float | None]
    code_version: str


def stream_of(strategy: str) -> str:
    return f"trials-{strategy}"


def id_of(
    configuration: StrategyDefined,
    *,
    source: Sequence[object],
    since: int,
    until: int,
    settings: Mapping[str, float],
    code_version: str,
) -> str:
    """SHA-256 over what is tried and on what: ``source`` says which data, by positions or hashes of files."""
    tried = [
        configuration.name,
        digest_of(configuration),
        list(source),
        since,
        until,
        dict(sorted(settings.items())),
        code_version,
    ]
    return sha256(msgspec.json.encode(tried)).hexdigest()


def group_of(trials: Iterable[str]) -> str:
    """Of the trials of one search."""
    return sha256("\n".join(sorted(trials)).encode()).hexdigest()
