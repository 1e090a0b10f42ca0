"""The shortest list of faults that still breaks a schedule."""

from collections.abc import Callable, Sequence

from tests.simulation.faults import Fault


def shrunk(faults: Sequence[Fault], breaks: Callable[[Sequence[Fault]], bool]) -> Sequence[Fault]:
    """``faults`` without those that it breaks without: halves are left out first, then one after the other.

    What is left breaks, and leaving out any one of it does not.
    """
    kept, size = list(faults), max(1, len(faults) // 2)
    while True:
        start, found = 0, False
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if breaks(fewer):
                kept, found = fewer, True
            else:
                start += size
        if size == 1 and not found:
            return kept
        size = max(1, size // 2)
