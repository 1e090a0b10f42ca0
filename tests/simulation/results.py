"""What all sittings came to: one line each, kept with the project, to add up."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    first: int  # seed
    schedules: int
    violations: Sequence[int]  # seeds
    cpu_s: float
    commit: str  # of the code that ran

    @property
    def per_second(self) -> float:
        """Schedules a second of one core."""
        return self.schedules / self.cpu_s if self.cpu_s else 0.0


def add(sitting: Sitting, path: Path = FILE) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(sitting)) + "\n")


def sittings(path: Path = FILE) -> Sequence[Sitting]:
    if not path.exists():
        return []
    return [Sitting(**json.loads(line)) for line in path.read_text().splitlines()]


def seen(kept: Sequence[Sitting]) -> int:
    """How many different seeds were run."""
    total = end = 0
    for first, last in sorted((s.first, s.first + s.schedules) for s in kept):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total
