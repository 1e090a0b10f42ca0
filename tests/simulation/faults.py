"""What can happen to a simulated world, and a list of it drawn from a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LASTS_S = 5.0  # faults begin within so many seconds
MOST_FAULTS = 10


@dataclass(frozen=True, slots=True)
class Fault:
    at: float  # seconds after the beginning
    kind: str
    target: str = ""  # a process, where it happens to one
    amount: float = 0.0  # seconds, or how many times

    def __str__(self) -> str:
        return f"{self.at:6.3f} s  {self.kind} {self.target} {self.amount:g}".replace("  0", "")


# Kind: how often it is drawn, the least and the most of it. Kinds that end in a process's name take a target.
KINDS: Mapping[str, tuple[int, float, float]] = {
    "crash": (10, 0.0, 3.0),  # seconds until it starts again
    "freeze": (8, 0.1, 6.0),  # seconds: SIGSTOP, SIGCONT
    "slow": (3, 0.5, 5.0),  # seconds in which every call takes long
    "store down": (2, 0.1, 3.0),
    "disk full": (2, 0.1, 3.0),  # appends are refused, reads go on
    "commits refused": (3, 1, 3),  # of the next appends; nothing is written
    "replies lost": (5, 1, 4),  # committed, and the connection dies before the answer
    "commits late": (4, 1, 3),  # the connection dies, and the server commits some time later
    "commits stalled": (5, 1, 3),  # they take seconds, and happen also when nobody waits any more
    "log notices lost": (2, 0.5, 5.0),
    "bus down": (2, 0.1, 3.0),
    "publish refused": (2, 1, 3),
    "acks lost": (4, 1, 4),
    "publish late": (3, 1, 3),
    "messages dropped": (4, 0.2, 4.0),
    "messages doubled": (3, 0.2, 4.0),
    "messages delayed": (3, 0.2, 4.0),
    "messages reordered": (3, 0.2, 4.0),
    "listeners cut": (2, 0, 0),
    "bus tail lost": (4, 1, 12),  # messages that were not on disk yet; their sequences are used again
    "bus copy restored": (3, 0.5, 4.0),  # of so many seconds ago
    "bus gone": (2, 0, 0),
    "clock jumps": (3, -6.0, 10.0),
    "reads down": (2, 0.1, 3.0),  # connections to the read models end, and none can be made
    "reads refused": (3, 1, 3),  # their next commits fail, nothing is written
    "reads lost": (4, 1, 3),  # their next commits happen, and the connection dies before the answer
    "reads power cut": (3, 0.1, 3.0),  # the commits of the last seconds are gone
}
TARGETED = frozenset({"crash", "freeze", "slow"})
_NAMES = tuple(KINDS)
_WEIGHTS = tuple(weight for weight, _, _ in KINDS.values())


def drawn(rng: random.Random, processes: Sequence[str]) -> list[Fault]:
    """From none to MOST_FAULTS, by time."""
    kinds = rng.choices(_NAMES, _WEIGHTS, k=rng.randint(0, MOST_FAULTS))
    return sorted((_one(rng, kind, processes) for kind in kinds), key=lambda fault: fault.at)


def _one(rng: random.Random, kind: str, processes: Sequence[str]) -> Fault:
    _, least, most = KINDS[kind]
    whole = isinstance(least, int) and isinstance(most, int)
    amount = rng.randint(int(least), int(most)) if whole else round(rng.uniform(least, most), 3)
    target = rng.choice(processes) if kind in TARGETED else ""
    return Fault(round(rng.uniform(0.0, LASTS_S), 3), kind, target, amount)
