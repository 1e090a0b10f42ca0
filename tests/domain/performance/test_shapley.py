"""Shapley values: the axioms on any game, an oracle that goes through all orders, and the game of votes."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.performance.shapley import MOST_EXACT, MOST_PLAYERS, shapley, shares_of_votes

NUMBERS = st.floats(-100, 100, allow_nan=False)


def games(least: int = 1, most: int = 6) -> st.SearchStrategy[tuple[int, Floats]]:
    """Players, and a value for each group; nobody is worth nothing."""

    def of(players: int) -> st.SearchStrategy[tuple[int, Floats]]:
        count = 2**players - 1
        values = st.lists(NUMBERS, min_size=count, max_size=count)
        return values.map(lambda v: (players, np.array([0.0, *v])))

    return st.integers(least, most).flatmap(of)


def by_orders(values: Floats, players: int) -> Floats:
    """What each player adds, over all orders in which they may come."""
    found = np.zeros(players)
    for order in permutations(range(players)):
        group = 0
        for player in order:
            found[player] += values[group | 1 << player] - values[group]
            group |= 1 << player
    return found / factorial(players)


def swapped(group: int, a: int, b: int) -> int:
    """``group`` with players ``a`` and ``b`` in each other's place."""
    different = (group >> a & 1) != (group >> b & 1)
    return group ^ (1 << a | 1 << b) if different else group


@given(games())
def test_the_values_are_the_means_over_all_orders(game: tuple[int, Floats]) -> None:
    players, values = game
    np.testing.assert_allclose(shapley(values, players), by_orders(values, players), atol=1e-9)


@given(games(most=10))
def test_the_values_sum_to_that_of_all(game: tuple[int, Floats]) -> None:
    players, values = game
    assert shapley(values, players).sum() == pytest.approx(values[-1], abs=1e-9)


@given(games(least=2), st.data())
def test_players_that_add_the_same_to_any_group_are_worth_the_same(
    game: tuple[int, Floats], data: st.DataObject
) -> None:
    players, values = game
    a, b = data.draw(st.permutations(range(players)))[:2]
    alike = np.array([(values[g] + values[swapped(g, a, b)]) / 2 for g in range(len(values))])
    found = shapley(alike, players)
    assert found[a] == pytest.approx(found[b], abs=1e-9)


@given(games(), st.data())
def test_who_adds_nothing_to_any_group_is_worth_nothing(
    game: tuple[int, Floats], data: st.DataObject
) -> None:
    players, values = game
    null = data.draw(st.integers(0, players - 1))
    without = np.array([values[group & ~(1 << null)] for group in range(len(values))])
    assert shapley(without, players)[null] == pytest.approx(0, abs=1e-9)


@given(games(), NUMBERS, NUMBERS, st.data())
def test_the_values_of_two_games_add_up(
    game: tuple[int, Floats], a: float, b: float, data: st.DataObject
) -> None:
    players, one = game
    count = len(one) - 1
    other = np.array([0.0, *data.draw(st.lists(NUMBERS, min_size=count, max_size=count))])
    both = a * shapley(one, players) + b * shapley(other, players)
    np.testing.assert_allclose(shapley(a * one + b * other, players), both, atol=1e-7)


def test_a_game_stays_as_it_was_given() -> None:
    values = np.arange(8.0)
    shapley(values, 3)
    np.testing.assert_array_equal(values, np.arange(8.0))


@pytest.mark.parametrize(("size", "players"), [(3, 2), (4, 3), (1, -1), (2, MOST_PLAYERS + 1)])
def test_a_game_without_one_value_a_group_is_refused(size: int, players: int) -> None:
    with pytest.raises(ValueError, match=f"of {players} players"):
        shapley(np.zeros(size), players)


def game_of(weight: Floats, said: Floats) -> Floats:
    """The game of votes, from its definition."""
    members = (np.arange(2 ** len(weight))[:, None] >> np.arange(len(weight))) & 1
    mass = members @ weight
    return np.divide(members @ (weight * said), mass, out=np.zeros(len(mass)), where=mass > 0)


@st.composite
def votes(draw: st.DrawFn, least: int = 1, most: int = 6) -> tuple[Floats, Floats]:
    """Weights and what was said, for the side on the whole: as in any decision."""
    count = draw(st.integers(least, most))
    weight = draw(st.lists(st.floats(0.01, 1), min_size=count, max_size=count))
    said = draw(st.lists(st.floats(-1, 1), min_size=count, max_size=count))
    w, x = np.array(weight) / sum(weight), np.array(said)
    whole = (w * x).sum()
    return (w, np.sign(whole) * x) if abs(whole) >= 0.05 else (w, np.abs(x) + 0.05)


@given(votes())
def test_shares_are_the_shapley_values_of_the_game_of_votes(drawn: tuple[Floats, Floats]) -> None:
    weight, said = drawn
    values = game_of(weight, said)
    found = shares_of_votes(weight, said)
    np.testing.assert_allclose(found.share, by_orders(values, len(weight)) / values[-1], atol=1e-9)
    assert found.is_exact


@given(votes(most=20))
@settings(max_examples=200)
def test_shares_sum_to_one_however_many_vote(drawn: tuple[Floats, Floats]) -> None:
    found = shares_of_votes(*drawn)
    assert found.share.sum() == pytest.approx(1, abs=1e-9)
    assert found.is_exact == (len(drawn[0]) <= MOST_EXACT)


@given(votes(least=2, most=12), st.data())
def test_votes_that_are_the_same_have_the_same_share(
    drawn: tuple[Floats, Floats], data: st.DataObject
) -> None:
    weight, said = drawn
    a, b = data.draw(st.permutations(range(len(weight))))[:2]
    weight[b], said[b] = weight[a], said[a]
    if abs((weight * said).sum()) > 0.01:
        share = shares_of_votes(weight, said).share
        assert share[a] == pytest.approx(share[b], abs=1e-9)


@given(votes(most=14), st.data())
def test_a_vote_of_no_weight_has_no_share_and_changes_none(
    drawn: tuple[Floats, Floats], data: st.DataObject
) -> None:
    weight, said = drawn
    at = data.draw(st.integers(0, len(weight)))
    more = shares_of_votes(np.insert(weight, at, 0.0), np.insert(said, at, 0.7))
    alone = shares_of_votes(weight, said)
    assert more.share[at] == more.without[at] == 0.0
    np.testing.assert_array_equal(np.delete(more.share, at), alone.share)
    np.testing.assert_array_equal(np.delete(more.without, at), alone.without)


def test_one_that_votes_against_the_side_has_a_negative_share() -> None:
    found = shares_of_votes(np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.6, -0.8]))
    assert found.share[2] < 0 < found.share[1] < found.share[0]
    assert found.without[2] < 0


def test_leaving_one_out_is_measured_against_the_others_and_need_not_sum() -> None:
    weight, said = np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.6, -0.8])
    found, whole = shares_of_votes(weight, said), (weight * said).sum()
    others = [
        (np.delete(weight, n) * np.delete(said, n)).sum() / np.delete(weight, n).sum() for n in range(3)
    ]
    np.testing.assert_allclose(found.without, 1 - np.array(others) / whole)
    assert abs(found.without.sum() - 1) > 0.1


def test_one_alone_has_all_of_it_and_nothing_is_left_without() -> None:
    found = shares_of_votes(np.array([0.25]), np.array([0.4]))
    assert found.share.tolist() == found.without.tolist() == [1.0]


def test_votes_that_cancel_out_are_credited_with_their_weight() -> None:
    found = shares_of_votes(np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.5, -0.5]))
    assert found.share.tolist() == [0.25, 0.25, 0.5]
    assert found.without.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("count", [13, 16, 18])
def test_more_votes_than_can_be_looked_at_in_all_groups_come_close(count: int) -> None:
    """Within 3 % of the whole where all are for the side; the same at each call."""
    r = np.random.default_rng(count)
    weight = r.random(count) + 0.05
    weight, said = weight / weight.sum(), r.uniform(0.1, 1, count)
    exact = shapley(game_of(weight, said), count) / (weight * said).sum()
    found = shares_of_votes(weight, said)
    assert not found.is_exact
    np.testing.assert_allclose(found.share, exact, atol=0.03)
    np.testing.assert_array_equal(found.share, shares_of_votes(weight, said).share)


@pytest.mark.parametrize(
    ("weight", "said", "says"),
    [
        ([], [], "need some above 0"),
        ([0.0, 0.0], [1.0, 1.0], "need some above 0"),
        ([-0.5, 1.0], [1.0, 1.0], "none below"),
        ([np.nan], [1.0], "finite"),
        ([1.0], [np.inf], "finite"),
        ([1.0, 1.0], [1.0], "as many"),
    ],
)
def test_votes_that_no_share_can_come_from_are_refused(
    weight: list[float], said: list[float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        shares_of_votes(np.array(weight), np.array(said))
