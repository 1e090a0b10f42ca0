"""Which calibrator makes the claims: the best on candidates it has not seen, or the odds as they are.

The base claims what the geometry gives without any edge. It stays where no method beats it by more than
chance would. Each method is judged by the table that it would be frozen into.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.calibrators import CURVE_POINTS, METHODS, VennAbers
from alphapulse.domain.decision.intervals import block_length, effective_size, mean_error
from alphapulse.domain.decision.logistic import sigmoid
from alphapulse.domain.decision.resolved import MAX_FOLDS, Resolved
from alphapulse.domain.decision.rows import MIN_ROWS, BadRows, Rows
from alphapulse.domain.decision.scores import brier, brier_skill, calibration_error, log_losses
from alphapulse.domain.decision.table import HIGHEST, LOWEST, Table, tabulate

BASE = "base"
FOLDS = 5
MIN_EFFECTIVE = 50.0  # outcomes out of fold, less what they overlap: fewer make too small an error
STANDARD_ERRORS = 2.0  # by so many a method needs to beat the base: by 1, the best of four does at times


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What ``method`` claimed of candidates out of fold: mean log loss in nats, Brier score.

    ``gain``: how far its log loss is below that of the base; ``gain_error``: the standard error of that, by
    a block bootstrap over time.
    """

    method: str
    log_loss: float
    brier: float
    brier_skill: float  # against the base
    ece: float
    gain: float
    gain_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The candidates behind a choice. Times are ns, scores log-odds; 0 where there are none."""

    candidates: int
    wins: int
    effective: float  # candidates, less what they overlap
    first_time: int
    last_time: int
    known_until: int
    score_low: float
    score_high: float

    @classmethod
    def of(cls, rows: Resolved) -> "Evidence":
        some = len(rows) > 0
        return cls(
            candidates=len(rows),
            wins=int(rows.y.sum()),
            effective=effective_size(rows.time, rows.until),
            first_time=int(rows.time[0]) if some else 0,
            last_time=int(rows.time[-1]) if some else 0,
            known_until=int(rows.until.max()) if some else 0,
            score_low=float(rows.x.min()) if some else 0.0,
            score_high=float(rows.x.max()) if some else 0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How methods were judged: on ``claimed`` candidates out of fold, over ``folds`` that could be used."""

    scores: tuple[Score, ...]  # the base first; empty where nobody was judged
    claimed: int
    effective: float
    folds: int
    embargo: int  # ns
    block: int  # neighbours in time that were drawn together
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The table that makes the claims, and how it was come by.

    It is asked with the raw score, but with the log-odds of the base where ``of_base``.
    """

    method: str
    why: str
    of_base: bool
    table: Table
    lower: Table  # same scores: Venn-Abers' p0, at most ``table``; for the base the table itself
    tabulation_error: float  # in probability
    lower_error: float
    parameters: dict[str, float]  # of the method
    evidence: Evidence
    trial: Trial

    @property
    def score(self) -> Score | None:
        """Of the method chosen; None where nobody was judged."""
        return next((score for score in self.trial.scores if score.method == self.method), None)

    def as_data(self) -> dict[str, Any]:
        """Plain numbers and text, under the names of CalibrationFitted.

        ``parameters`` also holds what has no name there. Skill and calibration error are 0 where nobody was
        judged.
        """
        facts, trial, score = asdict(self.evidence), asdict(self.trial), self.score
        more = {name: float(facts.pop(name)) for name in ("score_low", "score_high")}
        more |= {name: float(trial[name]) for name in ("claimed", "folds", "embargo", "block", "seed")}
        more |= {"tabulation_error": self.tabulation_error, "lower_error": self.lower_error}
        for judged in self.trial.scores:
            for name in ("brier", "gain", "gain_error"):
                more[f"{judged.method}_{name}"] = float(getattr(judged, name))
        return {
            "method": self.method,
            "why": self.why,
            "x": self.table.x,
            "p": self.table.p,
            "lower": self.lower.p,
            "parameters": {**self.parameters, **more},
            "scores": {judged.method: judged.log_loss for judged in self.trial.scores},
            **facts,
            "brier_skill": score.brier_skill if score else 0.0,
            "ece": score.ece if score else 0.0,
        }


def choose(
    x: ArrayLike,
    y: ArrayLike,
    time: ArrayLike,
    until: ArrayLike,
    *,
    base: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    folds: int = FOLDS,
    embargo: int = 0,
    standard_errors: float = STANDARD_ERRORS,
    least_effective: float = MIN_EFFECTIVE,
) -> Choice:
    """The calibrator for what is decided from now on, fitted on all resolved candidates that are handed in.

    ``x`` (n,) is the raw score in log-odds, ``y`` 1 where the candidate won and else 0, ``time`` and
    ``until`` (integers, ns) when it was decided and its outcome known, ``base`` the log-odds of a win
    without any edge. Without ``base`` that is the share of wins. The same candidates give the same choice,
    in whatever order they come; too few give the base.

    Raises:
        BadRows: values out of range, lengths that differ, an end before its decision, too many candidates,
            not 1 to MAX_FOLDS folds, a negative embargo or number of standard errors.
    """
    sound = embargo >= 0 and 0 <= standard_errors < np.inf and 0 < least_effective < np.inf
    if not 1 <= folds <= MAX_FOLDS or not sound:
        raise BadRows(
            f"{folds} folds (1 to {MAX_FOLDS}), embargo {embargo}, {standard_errors} standard errors, "
            f"least {least_effective}"
        )
    rows = Resolved.of(x, y, time, until, base, weight)
    trial = _trial(rows, folds, embargo, least_effective)
    method, why = _best(trial, standard_errors, least_effective)
    (table, lower), (error, lower_error), parameters = _frozen(method, _Lessons(rows))
    return Choice(
        method=method,
        why=why,
        of_base=method == BASE and base is not None,
        table=table,
        lower=lower,
        tabulation_error=error,
        lower_error=lower_error,
        parameters=parameters,
        evidence=Evidence.of(rows),
        trial=trial,
    )


def _trial(rows: Resolved, folds: int, embargo: int, least: float) -> Trial:
    usable = [(known, unseen) for known, unseen in rows.folds(folds, embargo) if len(known) >= MIN_ROWS]
    tested = rows.take(np.isin(rows.time, np.concatenate([u.time for _, u in usable]))) if usable else None
    effective = effective_size(tested.time, tested.until) if tested else 0.0
    seed, block, scores = rows.seed(folds, embargo), 0, tuple[Score, ...]()
    if tested and effective >= least:
        block = block_length(len(tested), len(tested) / effective)
        scores = _scores(_claims(usable), tested, block, seed)
    return Trial(
        scores=scores,
        claimed=len(tested) if tested else 0,
        effective=effective,
        folds=len(usable),
        embargo=embargo,
        block=block,
        seed=seed,
    )


def _claims(folds: list[tuple[Resolved, Resolved]]) -> dict[str, Floats]:
    """Of each method, what it claims of the unseen candidates of all folds, in order of time."""
    lessons = [(_Lessons(known), unseen) for known, unseen in folds]
    return {
        method: np.concatenate([_claim(method, known, unseen) for known, unseen in lessons])
        for method in (BASE, *METHODS)
    }


def _claim(method: str, known: "_Lessons", unseen: Resolved) -> Floats:
    (table, _), _, _ = _frozen(method, known)
    return table(unseen.base if method == BASE and len(unseen.base) else unseen.x)


def _scores(claims: Mapping[str, Floats], rows: Resolved, block: int, seed: int) -> tuple[Score, ...]:
    share = rows.weight / rows.weight.mean()
    losses = {method: share * log_losses(p, rows.y) for method, p in claims.items()}
    return tuple(
        Score(
            method=method,
            log_loss=float(losses[method].mean()),
            brier=brier(p, rows.y, rows.weight),
            brier_skill=brier_skill(p, rows.y, claims[BASE], rows.weight),
            ece=calibration_error(p, rows.y, rows.weight),
            gain=float((losses[BASE] - losses[method]).mean()),
            gain_error=mean_error(losses[BASE] - losses[method], block=block, seed=seed),
        )
        for method, p in claims.items()
    )


def _best(trial: Trial, standard_errors: float, least: float) -> tuple[str, str]:
    """The method and why, in words. Of equal ones the first, which is the simpler one."""
    if not trial.scores:
        return BASE, (
            f"{trial.claimed} candidates out of fold count for {trial.effective:.4g} that do not overlap, "
            f"{least:g} are needed to judge a method"
        )
    best = min(trial.scores[1:], key=lambda score: score.log_loss)
    beaten = best.gain > standard_errors * best.gain_error
    return best.method if beaten else BASE, (
        f"{best.method} has the least log loss of the methods, {best.log_loss:.5f} over {trial.claimed} "
        f"candidates out of fold; that is {best.gain:.5f} below the base, {'more' if beaten else 'not more'} "
        f"than {standard_errors:g} standard errors of {best.gain_error:.5f}"
    )


class _Lessons:
    """What all methods are fitted on, made ready once."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved

    @cached_property
    def rows(self) -> Rows:
        return Rows.of(self.resolved.x, self.resolved.y, self.resolved.weight)

    @cached_property
    def bounds(self) -> VennAbers:
        return VennAbers.of(self.rows)


def _frozen(method: str, lessons: _Lessons) -> tuple[list[Table], list[float], dict[str, float]]:
    """``method`` fitted on ``lessons``: claims and lower bound, the errors of tabulation, its parameters."""
    if method == BASE:
        has_odds = len(lessons.resolved.base) > 0
        table, error = _odds() if has_odds else (_share_of_wins(lessons.resolved), 0.0)
        return [table, table], [error, error], {}
    fitted = METHODS[method].of(lessons.rows)
    x, p = fitted.curve()
    lower, _ = lessons.bounds.interval(x)
    return *tabulate(x, p, np.minimum(lower, p)), fitted.parameters


def _share_of_wins(rows: Resolved) -> Table:
    """One claim whatever the score: the share of wins, after one win and one loss that nobody saw."""
    share = (float((rows.weight * rows.y).sum()) + 1) / (float(rows.weight.sum()) + 2)
    return Table((0.0,), (min(max(share, LOWEST), HIGHEST),))


@cache
def _odds() -> tuple[Table, float]:
    """Log-odds as probabilities, and the error of the table."""
    all_odds = float(np.log(HIGHEST / LOWEST))
    x = np.linspace(-all_odds, all_odds, CURVE_POINTS)
    (table,), (error,) = tabulate(x, sigmoid(x))
    return table, error
