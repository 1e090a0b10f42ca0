"""The choice of a calibrator: on unseen candidates only, purged, deterministic, and slow to believe."""

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision import resolved
from alphapulse.domain.decision.calibrators import METHODS
from alphapulse.domain.decision.decisions import CalibrationFitted
from alphapulse.domain.decision.resolved import MAX_FOLDS, Resolved
from alphapulse.domain.decision.rows import BadRows
from alphapulse.domain.decision.selection import BASE, MIN_EFFECTIVE, Choice, choose
from alphapulse.domain.decision.table import Table, tabulate

MINUTE = 60 * 10**9
NOON = 1_700_000_000 * 10**9
ODDS = np.log(0.6 / 0.4)  # of the geometry, without any edge

World = dict[str, np.ndarray]


def world(seed: int, n: int, edge: float = 0.0) -> World:
    """Candidates a minute apart that last up to 20; of what the score adds to the odds, ``edge`` is true."""
    rng = np.random.default_rng(seed)
    added, base = rng.normal(0, 1, n), np.full(n, ODDS)
    wins = rng.random(n) < 1 / (1 + np.exp(-(base + edge * added)))
    time = NOON + np.arange(n) * MINUTE
    until = time + rng.integers(1, 21, n) * MINUTE
    return {"x": base + added, "y": wins.astype(float), "time": time, "until": until, "base": base}


def claims_of(choice: Choice, given: World) -> np.ndarray:
    return choice.table(given["base"] if choice.of_base else given["x"])


# --- slow to believe


@pytest.mark.parametrize("with_base", [True, False])
def test_without_an_edge_nobody_claims_far_more_than_the_odds_and_the_base_nearly_always_stays(
    with_base: bool,
) -> None:
    chosen: Counter[str] = Counter()
    for seed in range(0 if with_base else 1, 200, 2):
        rows = world(seed, 300)
        choice = choose(**(rows if with_base else {**rows, "base": None}))
        chosen[choice.method] += 1
        assert claims_of(choice, rows).max() < 0.85, (seed, choice.why)
    assert chosen[BASE] >= 97, chosen


def test_a_true_edge_is_claimed_as_it_is() -> None:
    rows = world(1, 4_000, edge=1.0)
    choice = choose(**rows)
    assert choice.method == "platt", choice.why
    scores = np.linspace(-2, 3, 50)
    np.testing.assert_allclose(choice.table(scores), 1 / (1 + np.exp(-scores)), atol=0.03)
    assert "more than 2 standard errors" in choice.why
    assert choice.score is not None
    assert choice.score.brier_skill > 0.1
    assert choice.score.ece < 0.04


def test_an_edge_in_steps_is_claimed_by_a_method_that_knows_steps() -> None:
    rng = np.random.default_rng(2)
    rows = world(2, 6_000)
    x = rng.uniform(-3, 3, 6_000)
    y = (rng.random(6_000) < np.where(x > 1, 0.9, 0.55)).astype(float)
    choice = choose(**{**rows, "x": x, "y": y})
    assert choice.method in ("venn_abers", "isotonic"), choice.why
    np.testing.assert_allclose(
        choice.table(np.array([-1.0, 0.5, 1.5, 2.5])), [0.55, 0.55, 0.9, 0.9], atol=0.04
    )


def test_the_base_stays_unless_beaten_by_the_standard_errors_asked_for() -> None:
    rows = world(3, 800, edge=0.5)
    choice = choose(**rows)
    assert choice.method != BASE
    best = min(choice.trial.scores[1:], key=lambda score: score.log_loss)
    assert best.gain > 2 * best.gain_error > 0
    ratio = best.gain / best.gain_error
    assert choose(**rows, standard_errors=ratio * 0.999).method == best.method
    stayed = choose(**rows, standard_errors=ratio * 1.001)
    assert (stayed.method, stayed.of_base) == (BASE, True)
    assert "not more than" in stayed.why


# --- known time


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(0, 30))
def test_a_fold_is_taught_only_by_outcomes_known_an_embargo_before_it(
    seed: int, folds: int, embargo: int
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 80))
    time = rng.integers(0, 100, n)
    until = time + rng.integers(0, 30, n)
    rows = Resolved.of(rng.normal(0, 1, n), rng.integers(0, 2, n), time, until, None, None)
    seen = []
    for known, unseen in rows.folds(folds, embargo):
        first = unseen.time.min()
        may = [
            (t, u) for t, u in zip(rows.time, rows.until, strict=True) if t < first and u <= first - embargo
        ]
        assert list(zip(known.time, known.until, strict=True)) == may
        seen.extend(unseen.time.tolist())
    assert seen == rows.time.tolist()[len(rows) - len(seen) :]
    assert len(seen) == 0 or seen[0] not in rows.time.tolist()[: len(rows) - len(seen)]


def test_an_outcome_known_too_late_teaches_no_fold_however_telling_it_is() -> None:
    rows = world(4, 600, edge=0.8)
    late = np.arange(0, 100, 3)  # of the first part, which is never claimed
    rows["until"][late] = rows["until"].max()
    poisoned = {**rows, "x": rows["x"].copy(), "y": rows["y"].copy()}
    poisoned["x"][late], poisoned["y"][late] = 50.0, 0.0
    before, after = choose(**rows).trial, choose(**poisoned).trial
    assert [s.log_loss for s in before.scores] == [s.log_loss for s in after.scores]
    rows["until"][late] = rows["time"][late]  # had they been known, they would have taught
    poisoned["until"] = rows["until"]
    before, after = choose(**rows).trial, choose(**poisoned).trial
    assert all(a.log_loss != b.log_loss for a, b in zip(before.scores[1:], after.scores[1:], strict=True))


@pytest.mark.parametrize(("known_at", "taught"), [(93, 50), (94, 49)])
def test_the_embargo_is_kept_to_the_nanosecond(known_at: int, taught: int) -> None:
    time = np.concatenate([np.arange(50), np.arange(100, 150)])
    until = np.concatenate([np.full(50, 93), np.arange(100, 150)])
    until[7] = known_at
    rows = Resolved.of(np.zeros(100), np.zeros(100), time, until, None, None)
    known, unseen = next(rows.folds(1, 7))
    assert (len(known), unseen.time[0]) == (taught, 100)


# --- what is chosen


def test_the_table_is_the_method_fitted_on_everything() -> None:
    rows = world(6, 1_000, edge=1.0)
    choice = choose(**rows)
    x, p = METHODS[choice.method].fit(rows["x"], rows["y"]).curve()
    scores = np.linspace(x[0], x[-1], 500)
    (table,), _ = tabulate(x, p)
    assert np.abs(choice.table(scores) - table(scores)).max() <= choice.tabulation_error + 1e-3
    assert choice.tabulation_error < 2e-3
    assert (np.array(choice.lower.p) <= choice.table.p).all()
    assert choice.lower.x == choice.table.x
    assert choice.parameters == METHODS[choice.method].fit(rows["x"], rows["y"]).parameters


def test_the_base_is_the_odds_and_without_them_the_share_of_wins() -> None:
    rows = world(7, 400)
    odds = choose(**rows)
    assert (odds.method, odds.of_base) == (BASE, True)
    asked = np.linspace(-12, 12, 999)
    np.testing.assert_allclose(odds.table(asked), 1 / (1 + np.exp(-asked)), atol=2e-3)
    assert odds.table(np.array([ODDS]))[0] == pytest.approx(0.6, abs=1e-3)
    share = choose(**{**rows, "base": None})
    assert (share.method, share.of_base) == (BASE, False)
    assert share.table == Table((0.0,), ((rows["y"].sum() + 1) / 402,))


def test_methods_are_judged_by_weighed_claims_of_candidates_they_have_not_seen() -> None:
    rows = world(8, 90, edge=1.0)
    rows["until"], weight = rows["time"], np.random.default_rng(8).uniform(0.2, 3, 90)
    choice = choose(**rows, weight=weight, folds=2)
    losses = np.empty(0)
    for known, unseen in Resolved.of(**rows, weight=weight).folds(2, 0):
        (table,), _ = tabulate(*METHODS["platt"].fit(known.x, known.y, known.weight).curve())
        p = table(unseen.x)
        losses = np.append(losses, -np.log(np.where(unseen.y == 1, p, 1 - p)))
    platt = choice.trial.scores[1]
    assert (platt.method, choice.trial.claimed, choice.trial.folds) == ("platt", 60, 2)
    assert platt.log_loss == pytest.approx(np.average(losses, weights=weight[30:]), abs=2e-3)
    assert abs(platt.log_loss - losses.mean()) > 4e-3


@given(st.integers(0, 2**32))
def test_the_order_of_the_candidates_changes_nothing(seed: int) -> None:
    rows = world(9, 150, edge=1.0)
    rows["time"] = rows["time"] // (7 * MINUTE) * (7 * MINUTE)  # many at one time
    order = np.random.default_rng(seed).permutation(150)
    assert choose(**rows) == choose(**{name: column[order] for name, column in rows.items()})


def test_any_other_candidate_draws_otherwise() -> None:
    rows = world(10, 200, edge=1.0)
    seeds = {choose(**rows).trial.seed, choose(**rows, embargo=1).trial.seed}
    for name in ("x", "y", "base", "time", "until"):
        changed = rows[name].copy()
        changed[77] = {"y": 1 - changed[77], "time": changed[77] - 1}.get(name, changed[77] + 1)
        seeds.add(choose(**{**rows, name: changed}).trial.seed)
    assert len(seeds) == 7


def test_old_candidates_of_little_weight_have_little_say() -> None:
    old, new = world(11, 2_000, edge=1.0), world(12, 2_000, edge=1.0)
    old["y"] = 1 - old["y"]
    new["time"], new["until"] = new["time"] + 2_000 * MINUTE, new["until"] + 2_000 * MINUTE
    rows = {name: np.concatenate([old[name], new[name]]) for name in old}
    assert choose(**rows).method == BASE
    faded = choose(**rows, weight=np.repeat([1e-3, 1.0], 2_000))
    assert faded.method != BASE
    assert faded.table(np.array([3.0]))[0] > 0.9
    alone = choose(**rows, weight=np.repeat([0.0, 1.0], 2_000))
    assert alone == choose(**new)


# --- too little, too much, and what cannot be


def test_few_candidates_leave_the_base_and_say_so() -> None:
    none = choose([], [], np.empty(0, np.int64), np.empty(0, np.int64))
    assert (none.method, none.table, none.trial.scores) == (BASE, Table((0.0,), (0.5,)), ())
    some = choose(**world(13, 30, edge=1.0))
    assert (some.method, some.of_base) == (BASE, True)
    assert "are needed" in some.why


def test_candidates_that_all_overlap_are_few() -> None:
    rows = world(14, 2_000, edge=1.0)
    rows["until"] = rows["time"] + 400 * MINUTE
    choice = choose(**rows)
    assert choice.trial.effective < MIN_EFFECTIVE
    assert choice.method == BASE


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_candidates_of_one_outcome_give_a_claim_short_of_certainty(label: float) -> None:
    rows = world(15, 600)
    choice = choose(**{**rows, "y": np.full(600, label), "base": None})
    assert 0 < abs(choice.table(np.array([0.0]))[0] - label) < 0.02


def test_candidates_of_one_score_have_one_claim() -> None:
    rows = world(16, 600)
    choice = choose(**{**rows, "x": np.zeros(600), "base": None})
    assert choice.table(np.array([-1.0, 0.0, 1.0])).tolist() == [choice.table.p[0]] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [np.nan] * 3}, "nan as score"),
        ({"x": [np.inf] * 3}, "inf as score"),
        ({"y": [0.5] * 3}, "0.5 as outcome"),
        ({"base": [np.nan] * 3}, "nan as odds of the base"),
        ({"base": [0.0] * 2}, r"\(2,\) odds"),
        ({"until": [5, 4, 9]}, "4 as end lies before"),
        ({"time": [1.5, 2.5, 3.5]}, "float64 for 3 candidates"),
        ({"time": [1, 2]}, r"\(2,\) times"),
        ({"weight": [1, 1, -1]}, "-1.0 as weight"),
        ({"folds": 0}, "0 folds"),
        ({"folds": MAX_FOLDS + 1}, "21 folds"),
        ({"embargo": -1}, "embargo -1"),
        ({"standard_errors": np.nan}, "nan standard errors"),
        ({"standard_errors": -1.0}, "-1.0 standard errors"),
    ],
)
def test_candidates_that_cannot_be_are_refused_with_the_value(change: dict[str, Any], message: str) -> None:
    sound = {"x": [0.0] * 3, "y": [1, 0, 1], "time": [5, 5, 6], "until": [5, 6, 7]}
    with pytest.raises(BadRows, match=message):
        choose(**{**sound, **change})


def test_the_number_of_candidates_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved, "MAX_CANDIDATES", 100)
    choose(**world(17, 100))
    with pytest.raises(BadRows, match="101 candidates: at most 100"):
        choose(**world(17, 101))


# --- recorded


@pytest.mark.parametrize("edge", [0.0, 1.0])
@pytest.mark.parametrize("n", [0, 40, 1_000])
def test_a_choice_is_recorded_in_plain_numbers_and_text_and_read_back(n: int, edge: float) -> None:
    rows = world(18, n, edge)
    choice = choose(**rows)
    event = CalibrationFitted(
        strategy="s", strategy_version=1, part=0, number=1, position=9, first_position=1, last_position=8,
        **choice.as_data(),
    )  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(event), type=CalibrationFitted)
    assert read == event
    assert Table(read.x, read.p) == choice.table
    assert Table(read.x, read.lower) == choice.lower
    assert (read.candidates, read.wins, read.method) == (n, rows["y"].sum(), choice.method)
    assert read.scores == {score.method: score.log_loss for score in choice.trial.scores}
    assert read.parameters["seed"] == choice.trial.seed
    assert (read.first_time, read.last_time) == ((rows["time"][0], rows["time"][-1]) if n else (0, 0))
    assert read.known_until == (rows["until"].max() if n else 0)
