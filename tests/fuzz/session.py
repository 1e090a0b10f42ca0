"""One sitting with one target, in a process of its own: ``… -m tests.fuzz.session TARGET RUNS SEED ENGINE``.

The input under way stands in a file that outlives us, so whoever started us can tell what we died of.
"""

import mmap
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from types import FunctionType, ModuleType
from typing import Any

from tests.fuzz.mutate import Mutator
from tests.fuzz.target import Finding, Judge, Target
from tests.fuzz.targets import target

FOLDER = Path("var/fuzz")
_NOW = struct.Struct("<QI")  # how many inputs were taken, length of the one under way
_ROOM = 1 << 20
MAX_POOL = 4_000
INSTRUMENTED = (
    *("alphapulse.adapters.store.co", "alphapulse.adapters.bus.envelope", "alphapulse.settings"),
    *("alphapulse.adapters.files.", "alphapulse.adapters.verifier.", "alphapulse.graphql.limits"),
    *(f"alphapulse.graphql.{name}" for name in ("documents", "paging", "scalars", "requests", "errors")),
    *("graphql.language.", "graphql.validation.", "graphql.utilities."),
)  # begin the names of modules whose branches guide


class Diary:
    """What was taken, what was found, and which input is under way."""

    def __init__(self, target: str) -> None:
        self.folder = FOLDER / target
        (self.folder / "findings").mkdir(parents=True, exist_ok=True)
        (self.folder / "corpus").mkdir(exist_ok=True)
        with (self.folder / "now").open("w+b") as file:
            file.truncate(_ROOM)
            self._now = mmap.mmap(file.fileno(), _ROOM)
        self.taken = 0

    def begin(self, data: bytes) -> None:
        self._now[: _NOW.size + len(data)] = _NOW.pack(self.taken, len(data)) + data

    def end(self) -> None:
        self.taken += 1

    def close(self) -> None:
        """Nothing is under way any more."""
        self.begin(b"")

    def found(self, kind: str, text: str, data: bytes) -> None:
        """Keep the shortest input of each kind."""
        name = re.sub(r"[^A-Za-z0-9.]+", "-", kind)[:80]
        path = self.folder / "findings" / name
        if not path.exists() or path.stat().st_size > len(data):
            path.write_bytes(data)
            path.with_suffix(path.suffix + ".txt").write_text(text[-4_000:])

    def keep(self, data: bytes) -> None:
        (self.folder / "corpus" / sha256(data).hexdigest()[:16]).write_bytes(data)

    def kept(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.folder / "corpus").iterdir())[:MAX_POOL]]


def left_behind(target: str) -> tuple[int, bytes]:
    """How many inputs a session of ``target`` took, and the one that it was at when it died."""
    data = (FOLDER / target / "now").read_bytes()
    taken, length = _NOW.unpack_from(data)
    return taken, data[_NOW.size : _NOW.size + length]


def run(name: str, runs: int, seed: int, guided: bool) -> None:
    """``runs`` inputs, or fewer where we die."""
    fuzzed, diary = target(name), Diary(name)
    if guided:
        _instrument()
    judge = Judge(fuzzed)
    judge.warm_up()

    def one(data: bytes) -> str | None:
        diary.begin(data)
        outcome = None
        try:
            outcome = judge.run(data)
        except Finding as finding:
            diary.found(finding.kind, str(finding), data)
        diary.end()
        if diary.taken == runs:
            diary.close()
        return outcome

    (_guided if guided else _seeded)(fuzzed, diary, one, runs, seed)


def _seeded(fuzzed: Target, diary: Diary, one: Any, runs: int, seed: int) -> None:
    """Mutations of seeds, corpus and whatever ended in a new way."""
    pool = [*fuzzed.inputs(), *diary.kept()]
    mutator = Mutator(Random(seed), fuzzed.words, fuzzed.max_bytes)
    ends = {one(data) for data in pool[:runs]}
    while diary.taken < runs:
        data = mutator.mutated(pool, pool)
        outcome = one(data)
        if outcome not in ends and len(pool) < MAX_POOL:
            ends.add(outcome)
            pool.append(data)
            diary.keep(data)


def _guided(fuzzed: Target, diary: Diary, one: Any, runs: int, seed: int) -> None:
    """libFuzzer mutates, and keeps what reaches new branches of the instrumented modules."""
    import atheris

    words = diary.folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in fuzzed.words))
    for data in fuzzed.inputs():
        diary.keep(data)
    atheris.Setup(
        [
            *(sys.argv[0], f"-runs={runs}", f"-seed={seed % (1 << 31) + 1}", f"-max_len={fuzzed.max_bytes}"),
            *(f"-dict={words}", "-timeout=120", "-rss_limit_mb=0", "-verbosity=0", "-len_control=20"),
            str(diary.folder / "corpus"),
        ],
        _silent(one),
        custom_mutator=_mixed(fuzzed),
    )
    atheris.Fuzz()


def _mixed(fuzzed: Target) -> Callable[[bytes, int, int], bytes]:
    """Mutations of libFuzzer's and ours by turns: its comparisons, our numbers and nesting."""
    import atheris

    mutator, pool = Mutator(random := Random(), fuzzed.words, fuzzed.max_bytes), fuzzed.inputs()

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random.seed(seed)
        if seed % 3:
            return bytes(atheris.Mutate(data, most))
        return mutator.mutated([bytes(data)], pool)[:most]

    return mutated


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _silent(one: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """libFuzzer wants no answer."""

    def taken(data: bytes) -> None:
        one(bytes(data))

    return taken


def _instrument() -> None:
    """Functions and methods of the modules, in place; compiled kernels are none and stay as they are."""
    import atheris

    for name, module in list(sys.modules.items()):
        if name.startswith(INSTRUMENTED):
            for function in _functions_of(module):
                atheris.instrument_func(function)


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    for value in own:
        inside = vars(value).values() if isinstance(value, type) else [value]
        yield from (each for each in inside if isinstance(each, FunctionType))


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "guided")
    sys.stdout.flush()
    os._exit(0)  # threads of readers that were abandoned in mid-file
