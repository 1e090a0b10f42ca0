"""What a fuzz target is, and what counts as a finding.

``check`` takes any bytes. It lets the exceptions pass that the code under test documents, and says in a word
how it went: which of them, raised where, or that the input was taken. Anything else is a finding: another
exception, a broken round trip (an assert), more than a second of one core, or too much memory.
"""

import resource
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_CPU_S = 1.0
MAX_GROWTH_KB = 512 << 10  # of the largest resident set, over what it was when the target had been warmed up
_AGAIN = 3  # on a loaded machine a slow input has to be slow each time
_OURS = ("/alphapulse/", "/tests/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``seeds`` are valid inputs; ``words`` are pieces that mean something there, for the mutator."""

    name: str
    check: Callable[[bytes], str]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes]
    max_bytes: int = 4_096

    @property
    def corpus(self) -> Path:
        """Kept in the repository: what once was a finding, and inputs that reach what seeds do not."""
        return Path(__file__).parent / "corpus" / self.name

    def inputs(self) -> Sequence[bytes]:
        """Seeds and corpus, in an order that stays."""
        kept = sorted(self.corpus.glob("*")) if self.corpus.exists() else []
        return [*self.seeds(), *(path.read_bytes() for path in kept)]


class Finding(Exception):
    """The target broke its promise. ``kind`` is the same for inputs that hit the same place."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}\n{text}")
        self.kind = kind


def place_of(error: BaseException) -> str:
    """``UndecodableEvent columnar.py:301``: what was raised, and the deepest line of ours it came through."""
    while error.__cause__ is not None:
        error = error.__cause__
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if any(part in frame.f_code.co_filename for part in _OURS):
            where = f" {frame.f_code.co_filename.rpartition('/')[2]}:{line}"
    return type(error).__name__ + where


@dataclass(slots=True)
class Judge:
    """Runs inputs of one target and watches time and memory. ``warm_up`` before the first."""

    target: Target
    _most_kb: int = 0

    def warm_up(self) -> None:
        """Kernels compile and caches fill at their first call: that is no input's fault."""
        for data in self.target.seeds():
            self.target.check(data)
        self._most_kb = _peak_kb() + MAX_GROWTH_KB

    def run(self, data: bytes) -> str:
        """How it went.

        Raises:
            Finding: the target broke its promise.
        """
        begun = time.process_time()
        outcome = self._checked(data)
        if time.process_time() - begun > MAX_CPU_S:
            self._time_again(data)
        if _peak_kb() > self._most_kb:
            self._most_kb = _peak_kb() + MAX_GROWTH_KB
            raise Finding("memory", f"{len(data)} bytes took over {MAX_GROWTH_KB} kB")
        return outcome

    def _checked(self, data: bytes) -> str:
        try:
            return self.target.check(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of Rust is no Exception
            raise Finding(place_of(error), "".join(traceback.format_exception(error)[-12:])) from None

    def _time_again(self, data: bytes) -> None:
        least = min(_timed(self.target.check, data) for _ in range(_AGAIN))
        if least > MAX_CPU_S:
            raise Finding("slow", f"{len(data)} bytes took {least:.1f} s of one core")


def _timed(check: Callable[[bytes], str], data: bytes) -> float:
    begun = time.process_time()
    check(data)
    return time.process_time() - begun


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
