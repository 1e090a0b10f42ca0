"""Whatever is selected from whatever log: an honest export is never called forged."""

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from alphapulse.adapters.verifier.bundle import Asked, verify_bundle
from alphapulse.adapters.verifier.findings import INCOMPLETE, VALID, Findings
from alphapulse.adapters.verifier.note import key_of
from alphapulse.domain.provenance.selection import AsOf, Selection
from alphapulse.processes.auditing import NothingSelected
from tests.provenance.given import STRATEGY, World, bundle_of, sealed_log

SLICE = 150
Choice = Callable[[Random, World], dict[str, Any]]


def _span(random: Random, most: int) -> tuple[int | None, int | None]:
    lo, hi = sorted(random.choices(range(most + 1), k=2))
    return random.choice([(lo, hi + 1), (lo, hi + 1), (None, hi + 1), (lo, None)])


def _times(random: Random, world: World) -> dict[str, Any]:
    start = 1_704_067_200_000_000
    lo, hi = _span(random, world.tree.size)
    return {"recorded": tuple(None if v is None else start + v * 1_000_000 for v in (lo, hi))}


def _some(random: Random, known: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(random.sample(known, random.randrange(1, len(known)))))


NAMES = ("signal.issued.v1", "decision.made.v1", "market.trades_observed.v1", "outcome.recorded.v1")
STREAMS = (
    f"signals-{STRATEGY}",
    "trades-test-BTC_USD",
    "bars-test-BTC_USD-1m",
    f"decisions-{STRATEGY}",
    "no-such",
)
CHOICES: Sequence[Choice] = (
    lambda random, world: {},
    lambda random, world: {"positions": _span(random, world.tree.size)},
    lambda random, world: {"leaves": _span(random, world.tree.size)},
    lambda random, world: {"streams": _some(random, STREAMS)},
    lambda random, world: {"names": _some(random, NAMES)},
    lambda random, world: {"actors": _some(random, ("feeder", "alice", "decider", "nobody"))},
    lambda random, world: {"strategy": STRATEGY},
    lambda random, world: {"signal": f"{STRATEGY}/{random.randrange(1, 4)}"},
    _times,
    lambda random, world: {"as_of": AsOf(position=random.randrange(1, world.tree.position + 1))},
)


async def honest(random: Random, world: World, path: Path) -> tuple[Selection, dict[str, Any]]:
    """Something that is selected at random, as a bundle at ``path``."""
    while True:
        asked = {
            key: value
            for choice in random.sample(CHOICES, random.choice((1, 1, 2)))
            for key, value in choice(random, world).items()
        }
        options: dict[str, Any] = {}
        if random.random() < 0.2:
            options["tables"] = ("csv", "parquet") if random.random() < 0.1 else ("csv",)
        if random.random() < 0.2 and "as_of" not in asked:
            options["since"] = random.choice(world.seals.seals).note
        if random.random() < 0.15:
            options["withheld"] = _every(random.randrange(1, 9))
        try:
            await bundle_of(world, Selection(**asked), path, **options)
        except Exception as error:
            if isinstance(error, NothingSelected) or type(error).__name__ in ("NoSuchSignal", "NotSealed"):
                continue
            raise
        return Selection(**asked), options


def _every(count: int) -> Callable[..., bool]:
    return lambda record, _: record.position % count == 0


def erase(random: Random, world: World) -> None:
    """Delete some salts by hand."""
    for at, seal in enumerate(world.seals.seals):
        salts = bytearray(seal.leaves.salts)
        for leaf in range(len(seal.leaves)):
            if random.random() < 0.05:
                salts[leaf * 16 : leaf * 16 + 16] = bytes(16)
        world.seals.seals[at] = replace(seal, leaves=replace(seal.leaves, salts=bytes(salts)))


def told(path: Path, world: World, since: str | None) -> Findings:
    data = path.read_bytes()
    asked = Asked(key=key_of(str(world.key)), since=since)
    return verify_bundle(lambda: io.BytesIO(data), asked)


async def false_alarms(folder: Path, count: int, seed: int = 1) -> tuple[dict[str, int], list[str]]:
    random, verdicts, wrong = Random(seed), dict[str, int](), list[str]()
    world: World | None = None
    for number in range(count):
        if world is None or number % 50 == 0:
            size = random.choice((3, 8, 30, 70, 120))
            world = await sealed_log(
                events=size, seed=number + seed, each=random.choice((1, 7, 50)), rows=random.choice((1, 3, 9))
            )
            if random.random() < 0.3:
                erase(random, world)
        path = folder / f"{number}.tar.gz"
        asked, options = await honest(random, world, path)
        found = told(path, world, options.get("since"))
        path.unlink()
        verdicts[found.verdict] = verdicts.get(found.verdict, 0) + 1
        if found.faults or (found.verdict == INCOMPLETE and not _lacks(found, asked)):
            wrong.append(f"{number}: {asked} {options}: {found.faults} {found.missing}")
    return verdicts, wrong


def _lacks(found: Findings, asked: Selection) -> bool:
    """Whether payloads are missing, and they alone: an export holds all that was asked for."""
    payloads = found.facts["erased"] + found.facts["withheld"]
    return bool(found.missing_in_all == payloads)


def test_no_honest_bundle_of_a_random_slice_is_called_forged(tmp_path: Path) -> None:
    verdicts, wrong = asyncio.run(false_alarms(tmp_path, SLICE))
    assert wrong == []
    assert verdicts[VALID] > SLICE / 4
    assert verdicts[INCOMPLETE] > SLICE / 20


@pytest.mark.long
def test_none_of_ten_thousand_honest_bundles_is_called_forged(tmp_path: Path) -> None:
    verdicts, wrong = asyncio.run(false_alarms(tmp_path, 10_000, seed=7))
    print(verdicts)  # noqa: T201
    assert wrong == []
