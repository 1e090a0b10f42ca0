"""Shapley values: what each player of a game is worth, by what it adds to all the groups that it may join.

A player's value is the mean of v(S and the player) - v(S) over all orders in which players may come, S being
those before it. Source: L. S. Shapley, A value for n-person games (1953).

The game of votes: v(S) = sum of weight * said over S / sum of weight over S, v(nobody) = 0: how far those of
S, left alone with the weights that they had, would have been for the side that was taken.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats, Int64s

MOST_EXACT = 12  # players: 4,096 groups
MOST_PLAYERS = 20  # of a game whose every group is given
_ROUNDS = 32  # of orders, where there are too many players to look at every group
_SEED = 1953


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Arrays (n,), one a vote: of the whole ``v``, what each vote made, and what is lost without it.

    ``share`` sums to 1; a vote against the side has a negative one. ``without`` = 1 - v(the others) / v need
    not sum to anything. ``is_exact``: else ``share`` is a mean over some orders.
    """

    share: Floats
    without: Floats
    is_exact: bool


def shapley(values: Floats, players: int) -> Floats:
    """Shapley values (players,) of the game with ``values`` (2**players,).

    ``values[S]`` is v of the group whose members are the bits of S: player 0 is the lowest. They sum to v of
    all less v of nobody.

    Raises:
        ValueError: not one value a group, or more than MOST_PLAYERS players.
    """
    if not 0 <= players <= MOST_PLAYERS or values.shape != (1 << players,):
        raise ValueError(f"{values.shape} values for the groups of {players} players, at most {MOST_PLAYERS}")
    found = np.empty(players)
    _shapley(np.array(values, dtype=np.float64), _coefficients(players), _sizes(players), found)
    return found


def shares_of_votes(weight: Floats, said: Floats) -> Shares:
    """What each vote made of the consensus for the side that was taken.

    ``said`` (n,) is direction * score * side, ``weight`` (n,) as it counted; one of weight 0 has no share.
    Where all together say nothing (v = 0) there is nothing to share: a vote is then credited with its
    weight.

    Raises:
        ValueError: a weight is negative or a number not finite, or nobody weighs anything.
    """
    if weight.shape != said.shape or not (np.isfinite(weight).all() and np.isfinite(said).all()):
        raise ValueError(f"weights {weight} of votes {said}: need as many finite numbers")
    who = np.flatnonzero(weight)
    if not len(who) or weight.min() < 0:
        raise ValueError(f"weights {weight}: need some above 0, and none below")
    w, x, share, without = weight[who], said[who], np.zeros(len(weight)), np.zeros(len(weight))
    players, of_each, left = len(who), np.empty(len(who)), np.empty(len(who))
    if players <= MOST_EXACT:
        room = np.empty((2, 1 << players))
        _game(w, x, room[0], room[1])
        _shapley(room[1], _coefficients(players), _sizes(players), of_each)
    else:
        _in_orders(w, x, _orders(players), of_each)
    whole = _leave_out(w, x, left)
    share[who] = of_each / whole if whole else w / w.sum()
    without[who] = 1 - left / whole if whole else 0.0
    return Shares(share, without, players <= MOST_EXACT)


@lru_cache(maxsize=MOST_PLAYERS + 1)
def _sizes(players: int) -> Int64s:
    """How many members each group has."""
    return np.array([group.bit_count() for group in range(1 << players)], dtype=np.int64)


@lru_cache(maxsize=MOST_PLAYERS + 1)
def _coefficients(players: int) -> Floats:
    """(2, players + 1): how often v of a group of a size counts for a member, and against everybody else.

    A player comes behind a given group of s in s! (n - s - 1)! / n! of all orders.
    """
    for_members, against = np.zeros(players + 1), np.zeros(players + 1)
    for size in range(players):
        against[size] = 1 / (players * comb(players - 1, size))
        for_members[size + 1] = against[size]
    return np.array([for_members, against])


@inner_piece
def _shapley(values: Floats, coefficients: Floats, sizes: Int64s, found: Floats) -> None:
    """Fill ``found``; ``values`` is used up.

    A player's value = sum over its groups of v * for_members - sum over the others of v * against. Summed
    over the groups that hold a player by folding the upper half onto the lower, one player at a time: 2**n
    additions in all, not n 2**n.
    """
    rest = 0.0
    for group in range(values.shape[0]):
        size, v = sizes[group], values[group]
        rest += v * coefficients[1, size]
        values[group] = v * coefficients[0, size] + v * coefficients[1, size]
    half = values.shape[0] // 2
    for player in range(found.shape[0] - 1, -1, -1):
        mine = 0.0
        for group in range(half):
            upper = values[half + group]
            mine += upper
            values[group] += upper
        found[player] = mine - rest
        half //= 2


@inner_piece
def _game(weight: Floats, said: Floats, mass: Floats, values: Floats) -> None:
    """``values`` of every group, (2**n,); ``mass`` (2**n,) is room to work in."""
    mass[0], values[0] = 0.0, 0.0
    for player in range(weight.shape[0]):
        groups = 1 << player
        for group in range(groups):
            mass[groups + group] = mass[group] + weight[player]
            values[groups + group] = values[group] + weight[player] * said[player]
    for group in range(1, values.shape[0]):
        values[group] /= mass[group]


@inner_piece
def _leave_out(weight: Floats, said: Floats, left: Floats) -> float:
    """v of all; ``left`` (n,) takes v of all but each."""
    for out in range(weight.shape[0]):
        mass, total = 0.0, 0.0
        for player in range(weight.shape[0]):
            if player != out:
                mass += weight[player]
                total += weight[player] * said[player]
        left[out] = total / mass if mass > 0.0 else 0.0
    mass, total = 0.0, 0.0
    for player in range(weight.shape[0]):
        mass += weight[player]
        total += weight[player] * said[player]
    return total / mass


@lru_cache(maxsize=64)
def _orders(players: int) -> Int64s:
    """Some orders (m, players) of the players, the same ones whenever there are so many.

    Each shuffled order is turned so that every player has every place once, for it is the place that
    matters most, and each of these also counts backwards. Source: R. Mitchell et al., Sampling permutations
    for Shapley value estimation (2022).
    """
    raw, found = np.random.PCG64(_SEED), list[Int64s]()
    for _ in range(_ROUNDS):
        order = np.argsort(raw.random_raw(players), kind="stable")
        for turn in range(players):
            turned = np.roll(order, turn)
            found += [turned, turned[::-1]]
    return np.array(found, dtype=np.int64)


@inner_piece
def _in_orders(weight: Floats, said: Floats, orders: Int64s, found: Floats) -> None:
    """``found`` (n,): the mean of what each adds in ``orders``. It sums, as each order's parts do."""
    for player in range(found.shape[0]):
        found[player] = 0.0
    for order in range(orders.shape[0]):
        mass, total, before = 0.0, 0.0, 0.0
        for place in range(orders.shape[1]):
            player = orders[order, place]
            mass += weight[player]
            total += weight[player] * said[player]
            now = total / mass
            found[player] += now - before
            before = now
    for player in range(found.shape[0]):
        found[player] /= orders.shape[0]
