"""What several readers in one process make of the same thing, made once."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

MOST = 64  # of the last ones; readers at the end of the log are hardly further apart


class Once(Generic[Given, Made]):
    """``make``, a pure function, which remembers what it made of the last objects: the very same ones.

    From any thread. An exception is not remembered.
    """

    def __init__(self, make: Callable[[Given], Made], most: int = MOST) -> None:
        self._make, self._most = make, most
        self._made: OrderedDict[int, tuple[Given, Made]] = OrderedDict()  # by id, which the object here keeps
        self._lock = Lock()

    def __call__(self, given: Given) -> Made:
        found = self._made.get(id(given))
        if found is not None and found[0] is given:
            return found[1]
        made = self._make(given)
        with self._lock:
            self._made[id(given)] = given, made
            if len(self._made) > self._most:
                self._made.popitem(last=False)
        return made
