"""A decider: the pure core of one kind of stream.

``decide(command, state) -> events`` holds the rules, ``evolve(state, event) -> state`` never refuses.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Decider(Generic[C, S, E]):
    initial: S
    decide: Callable[[C, S], Sequence[E]]
    evolve: Callable[[S, E], S]

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        """The state after ``events``, from ``state`` or else from the beginning."""
        return reduce(self.evolve, events, self.initial if state is None else state)
