"""Whatever is done to a bundle is found, and named; and nothing honest is ever called forged."""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.verifier.bundle import verify_bundle
from alphapulse.adapters.verifier.findings import INCOMPLETE, VALID
from alphapulse.domain.provenance.anchors import MICROSECONDS, WITNESS, cosign, witness_key
from alphapulse.domain.provenance.notes import parse_note
from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.selection import Selection
from tests.provenance.forging import Forged, Given, given_of, packed, verified
from tests.provenance.given import STRATEGY, World, bundle_of, sealed_log
from tests.provenance.tampers import TAMPERS, splice

SLICE = 300
SELECTIONS = (
    ("all", Selection(), {}),
    ("table", Selection(), {"tables": ("csv",)}),
    ("market", Selection(actors=("feeder",)), {}),
    ("signals", Selection(strategy=STRATEGY), {}),
    ("range", Selection(positions=(9, 40)), {"since": True}),
    ("stream", Selection(streams=(f"signals-{STRATEGY}",)), {"tables": ("csv",)}),
    ("withheld", Selection(leaves=(5, 48)), {"withheld": True}),
)


async def _bundles(folder: Path, seed: int) -> list[Given]:
    world = await sealed_log(events=60, seed=seed, each=13, rows=3)
    earlier = [seal.note for seal in world.seals.seals]
    found = []
    for name, asked, options in SELECTIONS:
        path = folder / f"{name}-{seed}.tar.gz"
        given = dict(options)
        if given.pop("since", None):
            given["since"] = earlier[1]
        if given.pop("withheld", None):
            given["withheld"] = lambda record, _: record.position % 3 == 0
        await bundle_of(world, asked, path, **given)
        found.append(given_of(name, path, world.signer, earlier))
    return [*found, await _anchored(world, folder / f"anchored-{seed}.tar.gz", earlier)]


async def _anchored(world: World, path: Path, earlier: Sequence[str]) -> Given:
    """With what a witness gave for two checkpoints."""
    witness = KeySigner("witness.example", bytes(32))
    for at, time_s in ((1, 1_700_000_000), (3, 1_700_000_500)):
        line = str(cosign(parse_note(earlier[at]).text, witness, time_s)).encode()
        await world.seals.keep(
            Receipt(
                size=world.seals.seals[at].size,
                anchor="w",
                kind=WITNESS,
                time=time_s * MICROSECONDS,
                data=line,
            )
        )
    await bundle_of(world, Selection(positions=(10, 20)), path)
    given = given_of("anchored", path, world.signer, earlier)
    assert any(name.startswith("anchors/") for name in given.members)
    return replace(given, witness=witness_key(witness.key))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Given]:
    folder = tmp_path_factory.mktemp("bundles")
    return [given for seed in (1, 2) for given in asyncio.run(_bundles(folder, seed))]


def tampered(bundles: list[Given], number: int) -> tuple[str, Forged] | None:
    """The forgery of this number: always the same."""
    random = Random(number)
    given = random.choice(bundles)
    name = random.choice([*TAMPERS, "splice"])
    if name == "splice":
        forged = splice(random, given, random.choice([b for b in bundles if b.signer is not given.signer]))
    else:
        forged = TAMPERS[name](random, given)
    return None if forged is None else (f"{number}: {name} {forged.how} of {given.name}", forged)


def missed(label: str, forged: Forged) -> str | None:
    """What the verifier failed to find or to name."""
    found = verified(forged)
    if found.verdict == VALID:
        return f"{label}: {found.verdict}"
    if forged.leaf and not any(f.leaf in forged.leaf for f in (*found.faults, *found.missing)):
        return f"{label}: leaf {set(forged.leaf)} is not named by {found.faults}"
    if forged.fields and not any(f.what in forged.fields for f in found.faults):
        return f"{label}: none of {set(forged.fields)} is named by {found.faults}"
    return None


def run_tampers(bundles: list[Given], count: int) -> tuple[int, dict[str, int], list[str]]:
    done, kinds, wrong, number = 0, dict[str, int](), list[str](), 0
    while done < count:
        number += 1
        made = tampered(bundles, number)
        if made is None:
            continue
        done += 1
        kind = made[0].split()[1]
        kinds[kind] = kinds.get(kind, 0) + 1
        if (problem := missed(*made)) is not None:
            wrong.append(problem)
    return done, kinds, wrong


def test_every_tampering_of_a_random_slice_is_found_and_named(bundles: list[Given]) -> None:
    done, kinds, wrong = run_tampers(bundles, SLICE)
    assert wrong == []
    assert done == SLICE
    assert set(kinds) == {*TAMPERS, "splice"}


@pytest.mark.long
def test_ten_thousand_tamperings_are_all_found_and_named(bundles: list[Given]) -> None:
    _, kinds, wrong = run_tampers(bundles, 10_000)
    print(kinds)  # noqa: T201
    assert wrong == []


def test_the_bundles_that_are_tampered_with_are_honest(bundles: list[Given]) -> None:
    for given in bundles:
        found = verify_bundle(lambda given=given: io.BytesIO(packed(given.members)), given.asked)
        assert found.faults == [], given.name
        assert found.verdict == (INCOMPLETE if given.name == "withheld" else VALID), given.name
