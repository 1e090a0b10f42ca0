"""An export in parts: broken off anywhere, it goes on and ends with the same bytes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alphapulse.adapters.provenance import bundles
from alphapulse.adapters.provenance.partial import OtherExport, Partial
from alphapulse.domain.ports import StoreUnavailable
from alphapulse.domain.provenance.export_job import ExportTold
from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes import audit_chosen, audit_lines, audit_standing
from tests.provenance import reading
from tests.provenance.given import World, bundle_of, sealed_log

ALL = Selection()
SOME = Selection(actors=("decider", "alice"))
TABLES: dict[str, Any] = {"tables": ("csv", "parquet")}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, parts and windows so small that a log of hundreds has many."""
    monkeypatch.setattr(audit_chosen, "PAGE", 20)
    monkeypatch.setattr(audit_standing, "MAX_EVENTS_A_PART", 7)
    monkeypatch.setattr(audit_lines, "_LEAST_LEAVES", 3)


@pytest.fixture(scope="module")
def world() -> World:
    return asyncio.run(sealed_log(events=300, seed=4))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle.tar.gz"


def failing_after(reads: int) -> Callable[[str], None]:
    left = [reads]

    def fail(what: str) -> None:
        if what == "read":
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailable(f"after {reads} reads")

    return fail


async def broken_off(world: World, asked: Selection, out: Path, reads: int, **options: Any) -> int:
    """How often an export is broken off, if each attempt gets so many reads."""
    times = 0
    while True:
        world.store._fail = failing_after(reads)
        try:
            await bundle_of(world, asked, out, **options)
            return times
        except StoreUnavailable:
            times += 1
            assert times < 200, "it comes no further"
        finally:
            world.store._fail = lambda _: None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("asked", "reads"), [(ALL, 1), (ALL, 2), (ALL, 5), (SOME, 4), (SOME, 7)])
async def test_broken_off_again_and_again_it_ends_with_the_same_bytes(
    world: World, tmp_path: Path, asked: Selection, reads: int
) -> None:
    whole, pieced = tmp_path / "whole.tar.gz", tmp_path / "pieced.tar.gz"
    await bundle_of(world, asked, whole, **TABLES)
    assert await broken_off(world, asked, pieced, reads, **TABLES) > 1
    assert pieced.read_bytes() == whole.read_bytes()
    names = [name for name in reading.members(whole) if name.startswith("events/")]
    assert len(names) > 10
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["pieced.tar.gz", "whole.tar.gz"]  # noqa: ASYNC240


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("asked", [Selection(actors=("alice",)), SOME])
async def test_with_little_to_take_it_goes_on_where_it_looked_last(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Selection
) -> None:
    monkeypatch.setattr(audit_standing, "_KEEP_S", 0.0)
    whole, pieced = tmp_path / "whole.tar.gz", tmp_path / "pieced.tar.gz"
    await bundle_of(world, asked, whole)
    assert await broken_off(world, asked, pieced, 1) > 10
    assert pieced.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("small")
async def test_lines_that_were_kept_and_damaged_are_named(
    world: World, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_standing, "_KEEP_S", 0.0)
    world.store._fail = failing_after(3)
    with pytest.raises(StoreUnavailable):
        await bundle_of(world, SOME, out)
    world.store._fail = lambda _: None
    for path in Partial(out).folder.glob("rest-*"):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(OtherExport, match=r"rest-[ab] is not as it was written"):
        await bundle_of(world, SOME, out)


@pytest.mark.usefixtures("small")
async def test_parts_hold_the_same_lines_as_one_part_does(world: World, out: Path, tmp_path: Path) -> None:
    await bundle_of(world, SOME, out)
    many = reading.lines(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_standing, "MAX_EVENTS_A_PART", 10_000)
        await bundle_of(world, SOME, out)
    assert reading.lines(out) == many


async def test_a_part_ends_when_it_is_large_too(
    world: World, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_standing, "MAX_BYTES_A_PART", 20_000)
    made = await bundle_of(world, ALL, out)
    sizes = [len(content) for name, content in reading.members(out).items() if name.startswith("events/")]
    assert len(sizes) > 10
    assert max(sizes) < 26_000
    assert reading.root(out) == made.root


@pytest.mark.usefixtures("small")
async def test_the_checkpoint_and_its_anchors_stay_those_of_the_beginning(out: Path) -> None:
    world = await sealed_log(events=120, seed=4)
    first = Receipt(size=world.tree.size, anchor="file", kind="file", time=1, data=b"first")
    await world.seals.keep(first)
    world.store._fail = failing_after(3)
    with pytest.raises(StoreUnavailable):
        await bundle_of(world, ALL, out)
    world.store._fail = lambda _: None
    size = world.tree.size
    await bundle_of(world, ALL, out.with_name("other.tar.gz"), actor="bob")
    await world.seal()
    await world.seals.keep(Receipt(size=world.tree.size, anchor="file", kind="file", time=2, data=b"later"))
    await world.seals.keep(Receipt(size=size, anchor="other", kind="file", time=3, data=b"other"))
    made = await bundle_of(world, ALL, out)
    assert (made.size, made.anchors) == (size, 1)


@pytest.mark.usefixtures("small")
async def test_what_was_begun_is_not_gone_on_with_as_something_else(world: World, out: Path) -> None:
    world.store._fail = failing_after(3)
    with pytest.raises(StoreUnavailable):
        await bundle_of(world, SOME, out)
    world.store._fail = lambda _: None
    for asked, options in [
        (ALL, {}),
        (SOME, TABLES),
        (SOME, {"kind": "evidence"}),
        (SOME, {"positions": [1]}),
    ]:
        with pytest.raises(OtherExport, match=r"bundle\.tar\.gz\.partial is of another export.*decider"):
            await bundle_of(world, asked, out, **options)
    await bundle_of(world, SOME, out)


@pytest.mark.usefixtures("small")
async def test_a_state_or_part_that_was_damaged_is_named(world: World, out: Path) -> None:
    work = Partial(out)
    world.store._fail = failing_after(3)
    with pytest.raises(StoreUnavailable):
        await bundle_of(world, ALL, out)
    world.store._fail = lambda _: None
    part = work.folder / "events-000002.jsonl.packed"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(OtherExport, match=r"events-000002.*bytes, not \d+"):
        await bundle_of(world, ALL, out)
    (work.folder / "state.json").write_text("{")
    with pytest.raises(OtherExport, match=r"state\.json cannot be read"):
        await bundle_of(world, ALL, out)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", ["before", "after"])
async def test_finished_again_it_is_recorded_once(
    out: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The process ends where the event is in the log and the bundle is not yet, or just is, in its place."""
    world = await sealed_log(events=60, seed=4)
    finish = Partial.finish

    def dies(self: Partial, made: Path) -> None:
        if at == "after":
            made.replace(self.out)
        raise KeyboardInterrupt

    monkeypatch.setattr(Partial, "finish", dies)
    with pytest.raises(KeyboardInterrupt):
        await bundle_of(world, ALL, out, actor="bob")
    monkeypatch.setattr(Partial, "finish", finish)
    made = await bundle_of(world, ALL, out, actor="bob")
    (record,) = await world.store.read_stream("audit-exports")
    assert made.manifest in record.state.decode()
    assert reading.root(out) == made.root


@pytest.mark.usefixtures("small")
async def test_two_exports_of_the_same_are_two_events(world: World, out: Path) -> None:
    world = await sealed_log(events=60, seed=4)
    for _ in range(2):
        await bundle_of(world, Selection(actors=("decider",)), out, actor="bob")
    assert len(await world.store.read_stream("audit-exports")) == 2


@pytest.mark.usefixtures("small")
async def test_progress_rises_to_the_end(world: World, out: Path) -> None:
    told: list[ExportTold] = []
    made = await bundle_of(world, ALL, out, tell=told.append)
    assert [t.events for t in told] == sorted(t.events for t in told)
    assert [t.ratio for t in told] == sorted(t.ratio for t in told)
    assert (told[-1].events, told[-1].ratio) == (made.events, 1.0)
    assert 0 < told[-1].bytes < made.bytes


async def test_a_member_that_no_header_can_tell_is_refused(
    monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    world = await sealed_log(events=60, seed=4)
    monkeypatch.setattr(bundles, "MAX_MEMBER_BYTES", 50_000)
    with pytest.raises(bundles.TooLarge, match=r"events/000001\.jsonl has \d+ bytes, over 50000"):
        await bundle_of(world, ALL, out)
