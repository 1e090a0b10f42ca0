"""The role that shows checkpoints to anchors: each by itself, at most so often, with limits."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from alphapulse.adapters.provenance.anchor_file import FileWitness
from alphapulse.adapters.provenance.anchor_ots import OtsAnchor
from alphapulse.adapters.provenance.anchor_witness import WitnessAnchor
from alphapulse.domain.ports import StoreUnavailable
from alphapulse.domain.provenance.anchor_names import parse_anchors
from alphapulse.domain.provenance.anchors import (
    Ahead,
    Anchor,
    AnchorFailed,
    Contradicted,
    ProofFrom,
    is_settled,
)
from alphapulse.domain.provenance.anchors import witness_key as witness_key_of
from alphapulse.domain.provenance.sealing import Receipt, Sealed
from alphapulse.processes import anchor_history
from alphapulse.processes.anchor_history import Standing, newest_receipts, standings
from alphapulse.processes.anchoring import Anchoring, AnchorLimits, anchor_all, anchor_of, anchor_once
from tests.adapters.anchors.calendars import BLOCK_TIME, Calendar
from tests.adapters.anchors.sealed_logs import SealedLog, sealed_log
from tests.adapters.anchors.servers import Reply, Request, Witness, serving, witness_for

FAST = AnchorLimits(
    interval_s=0.05, settle_s=0.05, timeout_s=2, poll_s=0.01, lease_s=1.0, backoff_s=(0.01, 0.02)
)


async def until(done: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def at_work(
    log: SealedLog, *anchors: Anchor, limits: AnchorLimits = FAST
) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    work = asyncio.create_task(anchor_all(log.seals, log.store.leases, anchors, stop, limits))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(work, 5)


def witness_at(url: str, witness: Witness) -> WitnessAnchor:
    return WitnessAnchor(name=f"witness:{url}", url=url, key=witness_key_of(witness.signer.key), timeout_s=2)


def sizes(log: SealedLog, name: str) -> list[int]:
    return [receipt.size for receipt in log.seals.kept if receipt.anchor == name]


@dataclass
class Scripted:
    """An anchor of the protocol that does what the test says, and remembers when it was asked."""

    name: str
    does: Callable[[Sealed], Receipt | Exception | float]
    kind: str = "file"
    asked: list[tuple[float, int]] = field(default_factory=list)

    async def anchor(self, sealed: Sealed, proof_from: ProofFrom) -> Receipt:
        self.asked.append((asyncio.get_running_loop().time(), sealed.size))
        found = self.does(sealed)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, float):
            await asyncio.sleep(found)
            raise AssertionError("slept so long")
        return found

    async def settle(self, receipt: Receipt) -> Receipt | None:
        raise AssertionError("nothing here is pending")


def gives(name: str) -> Scripted:
    return Scripted(name, lambda s: Receipt(size=s.size, anchor=name, kind="file", time=s.size, data=b"x"))


async def test_each_checkpoint_is_shown_once_and_the_newest_counts():
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    async with serving(witness) as url, at_work(log, witness_at(url, witness)):
        await log.grow(3)
        await until(lambda: sizes(log, f"witness:{url}") == [3])
        await asyncio.sleep(0.2)
        assert len(witness.requests) == 1  # it has not grown
        await log.grow(1)
        newest = await log.grow(4)
        await until(lambda: newest.size in sizes(log, f"witness:{url}"))
    assert set(sizes(log, f"witness:{url}")) <= {3, 4, 8}


async def test_not_more_often_than_the_interval_says():
    log, anchor = await sealed_log(), gives("a")
    async with at_work(log, anchor, limits=replace(FAST, interval_s=0.3)):
        for _ in range(40):
            await log.grow(1)
            await asyncio.sleep(0.02)
    times = [at for at, _ in anchor.asked]
    assert len(times) >= 2
    assert all(later - earlier >= 0.29 for earlier, later in itertools.pairwise(times))


async def test_one_that_fails_hangs_or_breaks_does_not_hold_the_others(caplog: pytest.LogCaptureFixture):
    log = await sealed_log()
    await log.grow(2)
    bad = [
        Scripted("fails", lambda s: AnchorFailed("out of order")),
        Scripted("hangs", lambda s: 60.0),
        Scripted("breaks", lambda s: ZeroDivisionError("our own fault")),
    ]
    good = gives("good")
    with caplog.at_level(logging.WARNING):
        async with at_work(log, *bad, good, limits=replace(FAST, timeout_s=0.2)):
            await until(lambda: sizes(log, "good") == [2])
            await log.grow(3)
            await until(lambda: sizes(log, "good") == [2, 5])
            await until(lambda: "hangs" in caplog.text)
    assert sizes(log, "fails") == sizes(log, "hangs") == sizes(log, "breaks") == []
    assert "anchor fails, 2 leaves behind: out of order" in caplog.text
    assert (
        "anchor hangs, 2 leaves behind: no receipt within 0.2 s" in caplog.text or "hangs, 5" in caplog.text
    )
    assert "ZeroDivisionError: our own fault" in caplog.text


async def test_a_failure_is_tried_three_times_and_then_the_interval_is_waited_for(
    caplog: pytest.LogCaptureFixture,
):
    log = await sealed_log()
    await log.grow(2)
    anchor = Scripted("fails", lambda s: AnchorFailed("out of order"))
    with caplog.at_level(logging.WARNING):
        async with at_work(log, anchor, limits=replace(FAST, interval_s=1.0)):
            await until(lambda: len(anchor.asked) == 6)
    times = [at for at, _ in anchor.asked]
    assert times[2] - times[0] < 0.9
    assert times[3] - times[2] >= 0.99
    assert caplog.text.count("out of order") == 1  # said once, however often it is met


async def test_an_anchor_that_contradicts_is_an_error_and_is_not_pressed(caplog: pytest.LogCaptureFixture):
    log = await sealed_log()
    await log.grow(2)
    anchor = Scripted("saw more", lambda s: Contradicted("this log was rolled back"))
    with caplog.at_level(logging.ERROR):
        async with at_work(log, anchor, limits=replace(FAST, interval_s=0.4)):
            await until(lambda: len(anchor.asked) == 2)
    times = [at for at, _ in anchor.asked]
    assert times[1] - times[0] >= 0.39
    assert "anchor saw more, 2 leaves behind: this log was rolled back" in caplog.text


async def test_a_real_fork_is_told_by_a_real_witness(caplog: pytest.LogCaptureFixture):
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    async with serving(witness) as url:
        sealed = await log.grow(5)
        await witness_at(url, witness).anchor(sealed, log.proof_to(sealed))
        fork = await sealed_log(log.signer)
        await fork.grow(7)
        with caplog.at_level(logging.ERROR):
            async with at_work(fork, witness_at(url, witness)):
                await until(lambda: "do not continue the 5" in caplog.text)
    assert fork.seals.kept == []


async def test_that_another_of_ours_was_faster_is_no_contradiction():
    log = await sealed_log()
    await log.grow(2)
    anchor = Scripted("a", lambda s: Ahead("a", 5, s.size))
    work = Anchoring(seals=log.seals, anchor=anchor, standing=Standing(), limits=FAST)
    with pytest.raises(Ahead, match="has cosigned 5 leaves of this log, which now has 2: it was rolled back"):
        await work.once()
    real, asked = log.seals.sealed, 0

    async def grown_meanwhile(*, size: int | None = None) -> Sealed | None:
        nonlocal asked
        asked += 1
        if asked == 2:
            await log.grow(3)
        return await real(size=size)

    log.seals.sealed = grown_meanwhile  # type: ignore[method-assign]
    with pytest.raises(AnchorFailed, match="was shown 5 leaves by another of ours just now"):
        await work.once()


async def test_looking_back_ends_after_so_many_pages(monkeypatch: pytest.MonkeyPatch):
    log = await sealed_log()
    monkeypatch.setattr(anchor_history, "_FIRST_WIDTH", 1)
    monkeypatch.setattr(anchor_history, "_MOST_PAGES", 2)
    for size in range(1, 11):
        await log.grow(1)
        await log.seals.keep(Receipt(size=size, anchor="a", kind="file", time=1, data=b"x"))
    assert [receipt.size for receipt in await newest_receipts(log.seals, 100)] == [10, 9, 8]
    found = await standings(log.seals, ["a", "never"])
    assert (found["a"].size, found["never"].size) == (10, 0)


async def test_one_that_recovers_says_so(caplog: pytest.LogCaptureFixture):
    log = await sealed_log()
    await log.grow(2)
    answers: list[Receipt | Exception] = [AnchorFailed("away"), AnchorFailed("away")]
    good = gives("a")
    anchor = Scripted("a", lambda s: answers.pop() if answers else good.does(s))
    with caplog.at_level(logging.WARNING):
        async with at_work(log, anchor):
            await until(lambda: sizes(log, "a") == [2])
            await until(lambda: "at work again, 2 leaves are anchored" in caplog.text)


async def test_a_promise_settles_later_and_the_new_receipt_is_kept_beside_the_old():
    log, calendar = await sealed_log(), Calendar()
    await log.grow(3)
    async with serving(calendar) as url:
        calendar.uri = url
        anchor = OtsAnchor(name="ots", url=url, headers=f"{url}/api", least_work=1, timeout_s=2)
        async with at_work(log, anchor):
            await until(lambda: len(log.seals.kept) == 1)
            await until(lambda: any("timestamp" in request for request in calendar.requests))
            calendar.mine()
            await until(lambda: len(log.seals.kept) == 2)
            await asyncio.sleep(0.2)
            asked = len(calendar.requests)
            await asyncio.sleep(0.2)
            assert len(calendar.requests) == asked  # nothing is left to be asked
    promised, settled = log.seals.kept
    assert not is_settled(promised)
    assert (settled.size, settled.time) == (3, BLOCK_TIME * 1_000_000)


async def test_after_a_restart_it_goes_on_where_the_receipts_end_and_asks_for_what_is_pending():
    log, calendar = await sealed_log(), Calendar()
    await log.grow(3)
    async with serving(calendar) as url:
        calendar.uri = url
        anchor = OtsAnchor(name="ots", url=url, timeout_s=2)
        async with at_work(log, anchor):
            await until(lambda: len(log.seals.kept) == 1)
        calendar.mine()
        posts = sum(request.startswith("POST") for request in calendar.requests)
        async with at_work(log, anchor):
            await until(lambda: len(log.seals.kept) == 2)
        assert sum(request.startswith("POST") for request in calendar.requests) == posts == 1
    assert is_settled(log.seals.kept[1])


async def test_only_so_many_are_asked_about_at_once_and_in_time_all_of_them():
    standing = Standing()
    for size in range(1, 8):
        standing.pending.append(Receipt(size=size, anchor="ots", kind="ots", time=None, data=b""))
    looks = [[receipt.size for receipt in standing.next_pending(3)] for _ in range(4)]
    assert looks == [[1, 2, 3], [4, 5, 6], [7], [1, 2, 3]]
    done = replace(standing.pending[0], kind="file")
    standing.settle(standing.pending[0], done)
    assert [receipt.size for receipt in standing.next_pending(3)] == [4, 5, 6]


async def test_beyond_the_limit_of_pending_ones_the_oldest_are_left(caplog: pytest.LogCaptureFixture):
    log, calendar = await sealed_log(), Calendar()
    async with serving(calendar) as url:
        calendar.uri = url
        anchor = OtsAnchor(name="ots", url=url, timeout_s=2)
        for _ in range(4):
            sealed = await log.grow(1)
            await log.seals.keep(await anchor.anchor(sealed, log.proof_to(sealed)))
        standing = (await standings(log.seals, ["ots"]))["ots"]
        assert [receipt.size for receipt in standing.pending] == [1, 2, 3, 4]
        limits = replace(FAST, pending=2)
        work = Anchoring(seals=log.seals, anchor=anchor, standing=standing, limits=limits)
        with caplog.at_level(logging.WARNING):
            await work._settle()
        assert [receipt.size for receipt in standing.pending] == [3, 4]
        few = (await standings(log.seals, ["ots"], most_pending=3))["ots"]
    assert [receipt.size for receipt in few.pending] == [2, 3, 4]
    assert "4 receipts have not settled; the oldest 2 are not asked about" in caplog.text


async def test_settling_ends_for_now_after_three_failures_whatever_they_are(caplog: pytest.LogCaptureFixture):
    log, asked = await sealed_log(), list[int]()

    class Broken(OtsAnchor):
        async def settle(self, receipt: Receipt) -> Receipt | None:
            asked.append(receipt.size)
            raise ZeroDivisionError("our own fault") if len(asked) % 2 else AnchorFailed("away")

    pending = [Receipt(size=size, anchor="ots", kind="ots", time=None, data=b"") for size in range(1, 9)]
    standing = Standing(size=8, pending=pending)
    work = Anchoring(seals=log.seals, anchor=Broken(name="ots", url=""), standing=standing, limits=FAST)
    with caplog.at_level(logging.WARNING):
        await work._settle()
    assert asked == [1, 2, 3]
    assert "anchor ots, 2 leaves do not settle: away" in caplog.text
    assert "ZeroDivisionError: our own fault" in caplog.text


async def test_a_calendar_that_fails_to_settle_is_said_and_asked_again(caplog: pytest.LogCaptureFixture):
    log, calendar, is_broken = await sealed_log(), Calendar(), True

    async def sometimes(request: Request) -> Reply:
        return Reply(500, b"oops") if is_broken and "timestamp" in request.path else await calendar(request)

    await log.grow(3)
    async with serving(sometimes) as url:
        calendar.uri = url
        with caplog.at_level(logging.WARNING):
            async with at_work(log, OtsAnchor(name="ots", url=url, timeout_s=2)):
                await until(lambda: "anchor ots, 3 leaves" in caplog.text)
                calendar.mine()
                is_broken = False
                await until(lambda: len(log.seals.kept) == 2)


async def test_a_store_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    log, anchor = await sealed_log(), gives("a")
    await log.grow(2)
    real, failures = type(log.seals).sealed, 3

    async def sealed(self: object, *, size: int | None = None) -> Sealed | None:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreUnavailable("gone")
        return await real(self, size=size)  # type: ignore[arg-type]

    monkeypatch.setattr(type(log.seals), "sealed", sealed)
    async with at_work(log, anchor):
        await until(lambda: sizes(log, "a") == [2])


async def test_only_the_holder_of_the_lease_is_at_work():
    log, first, second = await sealed_log(), gives("a"), gives("b")
    await log.grow(2)
    patient = replace(FAST, lease_s=5.0)
    async with at_work(log, first, limits=patient) as stop_first:
        await until(lambda: sizes(log, "a") == [2])
        async with at_work(log, second, limits=patient):
            await asyncio.sleep(0.3)
            assert second.asked == []
            stop_first.set()
            await until(lambda: sizes(log, "b") == [2])


async def test_stopping_does_not_wait_for_an_anchor_that_hangs():
    log = await sealed_log()
    await log.grow(2)
    anchor = Scripted("hangs", lambda s: 60.0)
    async with at_work(log, anchor, limits=replace(FAST, timeout_s=60)):
        await until(lambda: bool(anchor.asked))
    # at_work allows 5 s


async def test_anchoring_once_tells_of_each_what_it_gave():
    log = await sealed_log()
    assert await anchor_once(log.seals, [gives("a")], FAST) == {"a": None}  # nothing is sealed
    await log.grow(2)
    anchors = [gives("a"), Scripted("b", lambda s: AnchorFailed("no"))]
    found = await anchor_once(log.seals, anchors, FAST)
    assert isinstance(receipt := found["a"], Receipt)
    assert receipt.size == 2
    assert str(found["b"]) == "no"
    assert (await anchor_once(log.seals, [gives("a")], FAST)) == {"a": None}  # it has it already


async def test_looking_back_finds_the_newest_of_each_however_far_behind(monkeypatch: pytest.MonkeyPatch):
    log = await sealed_log()
    monkeypatch.setattr(anchor_history, "_FIRST_WIDTH", 2)
    for size in range(1, 41):
        await log.grow(1)
        if size == 3:
            await log.seals.keep(Receipt(size=3, anchor="rare", kind="file", time=1, data=b"r"))
        for data in (b"x", b"y"):
            await log.seals.keep(Receipt(size=size, anchor="often", kind="file", time=1, data=data))
    found = await standings(log.seals, ["often", "rare", "never"])
    assert {name: standing.size for name, standing in found.items()} == {"often": 40, "rare": 3, "never": 0}
    assert [receipt.size for receipt in await newest_receipts(log.seals, 5)] == [40, 40, 39, 39, 38]
    assert len(await newest_receipts(log.seals, 10_000)) == 81


async def test_a_page_full_of_receipts_is_gone_on_from(monkeypatch: pytest.MonkeyPatch):
    log = await sealed_log()
    monkeypatch.setattr(anchor_history, "PAGE", 3)
    real = type(log.seals).receipts

    async def three(self: object, lo: int, hi: int) -> list[Receipt]:
        return list(await real(self, lo, hi))[:3]  # type: ignore[arg-type]

    monkeypatch.setattr(type(log.seals), "receipts", three)
    for size in range(1, 21):
        await log.grow(1)
        for name in ("a", "b"):
            await log.seals.keep(Receipt(size=size, anchor=name, kind="file", time=1, data=b"x"))
    assert len(await newest_receipts(log.seals, 100)) == 40
    assert (await standings(log.seals, ["a", "b"]))["b"].size == 20


async def test_what_is_configured_becomes_what_works(tmp_path: Path):
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    names = parse_anchors(
        f"file:{tmp_path}, rfc3161:https://tsa.example/tsr|/etc/roots.pem,"
        f"witness:https://w.example|{witness_key_of(witness.signer.key)},"
        "ots:https://a.example/|calendar=https://b.example|headers=https://c.example/api"
    )
    made = [anchor_of(name, lambda: log.signer.key) for name in names]
    assert [(anchor.kind, anchor.name) for anchor in made] == [
        ("file", f"file:{tmp_path}"),
        ("rfc3161", "rfc3161:https://tsa.example/tsr"),
        ("witness", "witness:https://w.example"),
        ("ots", "ots:https://a.example"),
    ]
    assert isinstance(made[0], FileWitness)
    assert made[0].log == log.signer.key
    assert isinstance(made[3], OtsAnchor)
    assert (made[3].calendars, made[3].headers) == (("https://b.example",), "https://c.example/api")
