"""Consensus against the same rules in plain Python, and what the rules are for."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.decision.consensus import (
    BASE_ERRORS,
    COUNT,
    CROWD,
    ERRORS,
    LEAST_ROWS,
    MEASURED,
    OF_CELL,
    OF_VOTER,
    SKILL,
    WEIGHT,
    exp,
    expected_bps,
    has_skill,
    learn,
    logit,
    measured_skill,
    needed,
    see_pairs,
    shrunk,
    sigmoid,
    weigh,
)

scores = st.floats(-1, 1).filter(lambda s: s == 0 or abs(s) > 1e-6)
ballots = st.integers(2, 5).flatmap(
    lambda voters: st.lists(st.lists(scores, min_size=voters, max_size=voters), min_size=1, max_size=50)
)

# The oracle: plain lists, no state but the whole past.


def cosine(past: Sequence[Sequence[float]], u: int, v: int, decay: float) -> float:
    def product(a: int, b: int) -> float:
        return math.fsum(row[a] * row[b] * decay**age for age, row in enumerate(reversed(past)))

    return product(u, v) / math.sqrt(product(u, u) * product(v, v))


def plain_consensus(
    past: Sequence[Sequence[float]], skills: Sequence[float], decay: float
) -> tuple[float, float, float]:
    """Of the last row of ``past``: consensus, disagreement, voters."""
    row = past[-1]
    voting = [v for v, s in enumerate(row) if s != 0]
    alike = {(u, v): max(cosine(past, u, v, decay), 0) ** 2 for u in voting for v in voting}
    if len(past) < LEAST_ROWS:
        alike = {(u, v): float(all(each[u] == each[v] for each in past)) for u, v in alike}
    copies = {v: sum(alike[u, v] > 1 - 1e-9 for u in voting) for v in voting}
    crowd = {v: copies[v] * sum(alike[u, v] / copies[u] for u in voting) for v in voting}
    raw = {v: max(skills[v], 0) / crowd[v] for v in voting}
    voters, total = sum(1 / c for c in crowd.values()), sum(raw.values())
    if total == 0:
        raw = {v: 1 / crowd[v] for v in voting}
        total = voters
    mean = sum(raw[v] / total * row[v] for v in voting)
    variance = sum(raw[v] / total * (row[v] - mean) ** 2 for v in voting)
    return mean, math.sqrt(variance), voters


def weighed(
    past: Sequence[Sequence[float]], skills: Sequence[float], decay: float = 0.99
) -> tuple[tuple[float, float, float], Floats]:
    rows = np.array(past, dtype=np.float64)
    voters = rows.shape[1]
    pairs, found = np.zeros((voters, voters)), np.zeros((voters, OF_VOTER))
    for row in rows:
        see_pairs(pairs, row, decay)
    cells = np.zeros((voters, OF_CELL))
    return weigh(rows[-1], cells, np.array(skills), 50.0, pairs, len(rows), found), found


@given(past=ballots, data=st.data())
def test_consensus_disagreement_and_voters_are_those_of_the_plain_rules(
    past: list[list[float]], data: st.DataObject
) -> None:
    skills = data.draw(st.lists(st.floats(-0.5, 0.9), min_size=len(past[0]), max_size=len(past[0])))
    assume(any(past[-1]))
    found, _ = weighed(past, skills)
    np.testing.assert_allclose(found, plain_consensus(past, skills, 0.99), atol=1e-7)


def column(past: Sequence[Sequence[float]], voter: int) -> tuple[float, ...]:
    """What a voter said, up to a factor: who always says half as much as another is a copy of it."""
    most = max(abs(row[voter]) for row in past) or 1.0
    return tuple(round(row[voter] / most, 4) for row in past)


@given(past=st.lists(st.tuples(scores, scores, scores), min_size=1, max_size=60))
def test_two_copies_of_a_voter_count_as_one(past: list[tuple[float, float, float]]) -> None:
    assume(any(past[-1]))
    assume(all(len({column(past, v), column(past, 0)}) == 2 for v in (1, 2)))  # no copies by chance
    once, _ = weighed(past, [0.3, 0.2, 0.1])
    for copies in (2, 5):
        again, found = weighed([row + row[:1] * copies for row in past], [0.3, 0.2, 0.1] + [0.3] * copies)
        np.testing.assert_allclose(again, once, atol=1e-6)
        np.testing.assert_allclose(found[3:, CROWD], found[0, CROWD])


def test_strangers_count_each_and_opposites_are_strangers() -> None:
    rng = np.random.default_rng(1)
    past = [[s, -s] for s in rng.uniform(0.1, 1, 100)]
    (_, _, voters), _ = weighed(past, [0.1, 0.1])
    assert voters == 2


def test_voters_that_mostly_agree_count_as_little_more_than_one() -> None:
    rng = np.random.default_rng(2)
    said = rng.uniform(-1, 1, 400)
    past = np.stack([said, said + rng.normal(0, 0.05, 400)], axis=1).tolist()
    (_, _, voters), _ = weighed(past, [0.1, 0.1])
    assert 1 < voters < 1.1


def test_a_voter_that_does_harm_has_no_weight_but_speaks() -> None:
    (consensus, disagreement, voters), found = weighed([[1.0, -1.0]], [0.2, -0.1])
    assert (consensus, disagreement, voters) == (1.0, 0.0, 2.0)
    assert found[:, WEIGHT].tolist() == [1.0, 0.0]


def test_where_nobody_has_skill_all_are_heard_alike() -> None:
    (consensus, _, _), found = weighed([[1.0, -0.5]], [-0.1, -0.2])
    assert found[:, WEIGHT].tolist() == [0.5, 0.5]
    assert consensus == 0.25
    assert not has_skill(found)


def test_skill_of_who_abstains_is_not_that_of_who_votes() -> None:
    _, found = weighed([[1.0, 0.0]], [-0.1, 0.2])
    assert not has_skill(found)
    _, found = weighed([[1.0, 0.5]], [-0.1, 0.2])
    assert has_skill(found)


def test_equal_voices_on_both_sides_give_no_consensus_and_full_disagreement() -> None:
    (consensus, disagreement, _), _ = weighed([[0.8, -0.8]], [0.2, 0.2])
    assert consensus == 0
    assert abs(disagreement - 0.8) < 1e-12


def test_who_abstains_has_no_weight_and_makes_nobody_a_crowd() -> None:
    past = [[0.5, 0.5]] * 40 + [[0.5, 0.0]]
    (consensus, _, voters), found = weighed(past, [0.2, 0.2])
    assert (consensus, voters) == (0.5, 1.0)
    assert found[:, WEIGHT].tolist() == [1.0, 0.0]


# Skill


def taught(outcomes: Sequence[tuple[float, int, float]], base: float, half_life: float) -> Floats:
    """The cell of one voter after (s, side, y) each."""
    cells = np.zeros((1, OF_CELL))
    for s, side, y in outcomes:
        learn(cells, np.array([s]), side, base, y, 2.0, 0.5 ** (1 / half_life))
    return cells[0]  # type: ignore[no-any-return]


@given(
    outcomes=st.lists(st.tuples(scores, st.sampled_from([1, -1]), st.sampled_from([0.0, 1.0])), max_size=30),
    base=st.floats(0.05, 0.95),
)
def test_skill_is_the_decayed_brier_skill_against_the_odds_of_the_geometry(
    outcomes: list[tuple[float, int, float]], base: float
) -> None:
    cell = taught(outcomes, base, 20.0)
    count = errors = reference = 0.0
    voted = [o for o in outcomes if o[0] != 0]
    for age, (s, side, y) in enumerate(reversed(voted)):
        q = 1 / (1 + math.exp(-(math.log(base / (1 - base)) + 2.0 * s * side)))
        weight = 0.5 ** (age / 20.0)
        count, errors = count + weight, errors + weight * (q - y) ** 2
        reference += weight * (base - y) ** 2
    np.testing.assert_allclose(cell[[COUNT, ERRORS, BASE_ERRORS]], [count, errors, reference], atol=1e-12)
    assert abs(measured_skill(cell) - (1 - errors / reference if voted else 0.0)) < 1e-9


def test_half_the_outcomes_are_forgotten_after_a_half_life() -> None:
    before = taught([(1.0, 1, 1.0)] * 500, 0.5, 10.0)
    after = taught([(1.0, 1, 1.0)] * 500 + [(1.0, 1, 0.0)] * 10, 0.5, 10.0)
    assert abs(after[COUNT] - before[COUNT]) < 1e-9
    assert measured_skill(before) > 0.9 > 0 > measured_skill(after)


def test_without_outcomes_skill_is_the_prior_and_with_many_it_is_what_was_measured() -> None:
    assert shrunk(0.0, 0.0, 0.02, 50.0) == 0.02
    assert shrunk(0.4, 50.0, 0.0, 50.0) == 0.2
    assert abs(shrunk(0.4, 1e9, 0.0, 50.0) - 0.4) < 1e-6
    assert shrunk(0.4, 0.0, 0.02, 0.0) == 0.02  # nothing known at all


def test_the_weight_of_a_voter_follows_a_planted_skill() -> None:
    rng = np.random.default_rng(3)
    cells = np.zeros((2, OF_CELL))
    for _ in range(400):
        y = float(rng.random() < 0.5)
        seer = 0.5 if (y == 1) == (rng.random() < 0.75) else -0.5
        guess = 0.5 if rng.random() < 0.5 else -0.5
        learn(cells, np.array([seer, guess]), 1, 0.5, y, 2.0, 0.5 ** (1 / 200))
    found, votes = np.zeros((2, OF_VOTER)), np.array([0.5, 0.5])
    pairs = np.zeros((2, 2))
    see_pairs(pairs, votes, 0.99)
    weigh(votes, cells, np.full(2, 0.02), 50.0, pairs, 1, found)
    assert found[0, MEASURED] > 0.1 > 0 > found[1, MEASURED]
    assert found[0, SKILL] > 0.1
    assert found[0, WEIGHT] > 0.9


# Arithmetic


@given(st.floats(-700, 700))
def test_exp_is_within_two_units_in_the_last_place(x: float) -> None:
    assert abs(exp(x) - math.exp(x)) <= 2 * math.ulp(math.exp(x))


@given(st.floats(1e-9, 1 - 1e-9))
def test_sigmoid_turns_logit_round(p: float) -> None:
    assert abs(sigmoid(logit(p)) - p) <= 1e-15 + 1e-12 * p


def test_sure_odds_do_not_overflow() -> None:
    assert sigmoid(1e300) == 1.0
    assert 0 <= sigmoid(-1e300) < 1e-300


def test_a_geometry_pays_where_it_wins_more_often_than_it_needs() -> None:
    stop, target, entry, cost = 2.0, 1.0, 100.0, 0.1
    rate = needed(stop, target, cost)
    assert rate == (2.0 + 0.1) / 3.0
    assert abs(expected_bps(logit(rate), stop, target, entry, cost)) < 1e-9
    assert expected_bps(logit(rate) + 0.1, stop, target, entry, cost) > 0
