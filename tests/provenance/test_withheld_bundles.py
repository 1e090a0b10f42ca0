"""Commit, then reveal: what an open signal says is in no bundle before its time, then as it was sealed."""

import asyncio
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as parquet
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.verifier.findings import INCOMPLETE, INVALID, VALID, Findings
from alphapulse.adapters.verifier.main import asked_of, verify_file
from alphapulse.domain.ports import NewEvent, StoredRecord
from alphapulse.domain.provenance.leaf import microseconds
from alphapulse.domain.provenance.selection import Selection
from alphapulse.domain.provenance.withholding import TELLING, longest_horizon
from alphapulse.processes.auditing import export
from tests.decided_log import recorded
from tests.domain.signals.engine_world import MINUTE
from tests.domain.signals.engine_world import world as market
from tests.provenance.decided_world import PLAIN, Decider, MarketClock, empty_world, end_of, put
from tests.provenance.given import World

LASTS = longest_horizon(PLAIN)
EVENTS = [event for _, _, event in market(markets=2, bars=1_200, edge=3e-4, size=5)]
ALL = Selection(strategy="world", withhold_open=True)


class Story:
    """A log as it grows; ``open_at`` is a moment at which signals are open."""

    def __init__(self) -> None:
        self.clock = MarketClock()
        self.world = empty_world(self.clock)

    async def until_open(self) -> None:
        """Up to where three signals were issued within the last ten minutes."""
        self.decider = await Decider.of(self.world.store, PLAIN)
        self.left = iter(EVENTS)
        for event in self.left:
            await self._take(event)
            if self.clock.time > end_of(EVENTS[300]):
                await self.decider.decide()
                issued = [e.event for e in await recorded(self.world.store, "signal.issued.v1")]
                if sum(self.clock.time - each.time < 10 * MINUTE for each in issued) >= 2:
                    break
        await self.world.seal()

    async def until_over(self) -> None:
        """All of the market, and then nothing for the longest horizon."""
        for event in self.left:
            await self._take(event)
        await self.decider.decide()
        self.clock.time += 2 * LASTS
        await put(self.world.store, msgspec.structs.replace(PLAIN, version=2))
        await self.world.seal()

    async def _take(self, event: Any) -> None:
        self.clock.time = max(self.clock.time, end_of(event))
        await put(self.world.store, event)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> "Bundles":
    return asyncio.run(made(tmp_path_factory.mktemp("withheld")))


class Bundles:
    """The same strategy exported twice: while signals are open, and when all are over."""

    world: World
    early: Path
    late: Path
    checkpoint: Path  # the early one, as the receiver kept it
    now: int  # ns, the log's clock at the early one
    size: int


async def made(folder: Path) -> Bundles:
    story, found = Story(), Bundles()
    await story.until_open()
    found.world, found.early, found.late = story.world, folder / "early.tar.gz", folder / "late.tar.gz"
    last = (await story.world.store.read(story.world.tree.position - 1)).records[0]
    found.now, found.size = microseconds(last.recorded_at) * 1_000, story.world.tree.size
    await write(story.world, found.early, ALL, tables=["csv", "parquet"])
    sealed = await story.world.seals.sealed()
    assert sealed is not None
    found.checkpoint = folder / "checkpoint"
    found.checkpoint.write_text(sealed.note)
    await story.until_over()
    await write(story.world, found.late, ALL, since=sealed.note)
    return found


async def write(world: World, out: Path, asked: Selection, **options: Any) -> None:
    await export(world.store, world.seals, asked, out, key=world.key, **options)


def verified(bundles: Bundles, out: Path, since: Path | None = None) -> Findings:
    return verify_file(str(out), asked_of(str(bundles.world.key), since and str(since), []))


def lines_of(out: Path) -> list[dict[str, Any]]:
    with tarfile.open(out) as archive:
        members = [m for m in archive if m.name.startswith("events/")]
        texts = [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    return [line for text in texts for raw in text.splitlines() if "gap" not in (line := json.loads(raw))]


def all_bytes(out: Path) -> bytes:
    with tarfile.open(out) as archive:
        return b"\n".join(archive.extractfile(m).read() for m in archive if m.name != "verify.py")  # type: ignore[union-attr]


async def kept_back(bundles: Bundles) -> list[StoredRecord]:
    """What the store holds of the lines that were withheld."""
    positions = {line["position"] for line in lines_of(bundles.early) if line.get("withheld")}
    records = (await bundles.world.store.read(0, limit=10_000)).records
    return [record for record in records if record.position in positions]


async def test_no_byte_of_what_is_kept_back_is_in_the_bundle(bundles: Bundles) -> None:
    """Neither the body nor a number of it, in no form; nor the salt, without which nothing can be guessed."""
    content, records = all_bytes(bundles.early), await kept_back(bundles)
    assert {record.name for record in records} >= {"decision.made.v1", "signal.issued.v1"}
    known = {number for line in lines_of(bundles.early) for number in numbers_in(line["event"])}
    for record in records:
        leaf = await bundles.world.seals.leaf_after(record.position - 1)
        salt = (await bundles.world.seals.leaves(leaf, leaf + 1)).salt(leaf)
        assert salt is not None
        for secret in (record.state, salt):
            assert secret not in content
            assert msgspec.json.encode(secret)[1:-1] not in content  # base64
        numbers = set(numbers_in(msgspec.json.decode(record.state))) - known
        assert len(numbers) >= 2, record.name
        for number in numbers:
            assert repr(number).encode() not in content, (record.name, number)


def numbers_in(value: Any) -> Iterator[float]:
    """Prices, scores and claims: fractions of so many digits that nothing else has them by chance."""
    if isinstance(value, float) and len(repr(value)) >= 7:
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from numbers_in(each)


async def test_kept_back_is_what_a_strategy_said_within_its_longest_horizon_and_nothing_else(
    bundles: Bundles,
) -> None:
    lines = {line["position"]: line for line in lines_of(bundles.early)}
    records = (await bundles.world.store.read(0, limit=10_000)).records
    issued = {e.event.decision: e.event.time for e in await recorded(bundles.world.store, "signal.issued.v1")}
    hidden = 0
    for record in records:
        line = lines.get(record.position)
        if line is None:
            continue
        event = codec.decode(record).event
        since = issued.get(getattr(event, "decision", ""), record.envelope.event_time or 0)
        if record.name.startswith("outcome."):
            since = event.outcome.closed_at - event.outcome.holding_ns
        is_open = record.name.startswith(TELLING) and since + LASTS > bundles.now
        assert line.get("withheld", False) is is_open, record
        assert (line["state"] is None, line["salt"] is None, line["event"] is None) == (is_open,) * 3
        hidden += is_open
    assert hidden >= 4


def test_tables_keep_back_the_same(bundles: Bundles) -> None:
    """CSV and Parquet are made of the same lines."""
    lines = lines_of(bundles.early)
    hidden = {line["leaf"] for line in lines if line.get("withheld")}
    with tarfile.open(bundles.early) as archive:
        table = parquet.read_table(archive.extractfile("events.parquet"))
    shown = dict(zip(table["leaf"].to_pylist(), table["event"].to_pylist(), strict=True))
    assert hidden
    assert {leaf for leaf, event in shown.items() if not event} == hidden
    assert len(shown) == len(lines)


def test_the_early_bundle_is_whole_but_for_what_is_not_due(bundles: Bundles) -> None:
    found = verified(bundles, bundles.early)
    assert found.verdict == INCOMPLETE
    told = found.facts["track_record"]["world"]
    assert told["signals"] == told["counted"]
    assert told["withheld"] >= 2
    assert told["counted_as_lost"] == 0
    assert {each["state"] for each in told["of"]} <= {"revealed", "withheld"}


def test_the_later_bundle_reveals_what_was_committed_in_the_earlier(bundles: Bundles) -> None:
    found = verified(bundles, bundles.late, bundles.checkpoint)
    assert found.verdict == VALID, found.missing
    told = found.facts["track_record"]["world"]
    assert (told["withheld"], told["counted_as_lost"]) == (0, 0)
    before = {line["leaf"]: line for line in lines_of(bundles.early)}
    after = {line["leaf"]: line for line in lines_of(bundles.late)}
    hidden = [leaf for leaf, line in before.items() if line.get("withheld")]
    assert hidden
    for leaf in hidden:
        assert after[leaf]["event"] is not None
        assert (after[leaf]["commitment"], after[leaf]["hash"]) == (
            before[leaf]["commitment"],
            before[leaf]["hash"],
        )


async def test_a_log_that_reveals_something_else_has_forked(bundles: Bundles, tmp_path: Path) -> None:
    """The operator writes the open signals anew, now that he knows how they ended."""
    other = empty_world(bundles.world.store._clock)  # type: ignore[arg-type]
    hidden = {line["position"] for line in lines_of(bundles.early) if line.get("withheld")}
    for record in (await bundles.world.store.read(0, limit=10_000)).records:
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        del fields["position"], fields["recorded_at"]
        if record.position in hidden and record.name == "signal.issued.v1":
            event = msgspec.json.decode(record.state)
            event["side"] = -event["side"]
            fields["state"] = msgspec.json.encode(event)
        await other.store.append([NewEvent(**fields)])
    await other.seal()
    out = tmp_path / "forked.tar.gz"
    await write(other, out, Selection(), positions=None)
    found = verified(bundles, out, bundles.checkpoint)
    assert found.verdict == INVALID
    assert "the log was forked" in found.faults[-1].text


async def test_what_is_never_revealed_counts_as_a_loss(bundles: Bundles, tmp_path: Path) -> None:
    """Also where the log goes on as if nothing had been: the definition says how long a signal may last."""
    hidden = {line["position"] for line in lines_of(bundles.early) if line.get("withheld")}
    out = tmp_path / "never.tar.gz"
    await write(
        bundles.world, out, Selection(strategy="world"), withheld=lambda record, _: record.position in hidden
    )
    found = verified(bundles, out)
    assert found.verdict == INCOMPLETE
    told = found.facts["track_record"]["world"]
    signals = {line["leaf"] for line in lines_of(bundles.early) if line.get("withheld")}
    lost = [each for each in told["of"] if each["counts_as_loss"]]
    assert [each["leaf"] for each in lost] == [e["leaf"] for e in told["of"] if e["leaf"] in signals]
    assert told["counted_as_lost"] == len(lost) >= 2
    assert told["decided"] == told["signals"]


async def test_an_outcome_that_is_never_revealed_counts_as_a_loss(bundles: Bundles, tmp_path: Path) -> None:
    """Nor does it help to show the signal and keep back how it ended."""
    out = tmp_path / "outcome.tar.gz"
    told = await recorded(bundles.world.store, "outcome.recorded.v1")
    lost = next(each for each in told if each.event.number and not each.event.outcome.label)
    await write(
        bundles.world,
        out,
        Selection(strategy="world"),
        withheld=lambda record, _: record.position == lost.position,
    )
    track = verified(bundles, out).facts["track_record"]["world"]
    assert [each["number"] for each in track["of"] if each["counts_as_loss"]] == [lost.event.number]
