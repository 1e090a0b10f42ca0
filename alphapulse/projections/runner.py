"""Brings read models up to the log: a batch, a fold, one transaction with rows, position and epoch.

Exactly once: rows and checkpoint commit together, and a claim that was overtaken fails to commit.
``synchronous_commit`` is off: what a power cut takes, the log gives again. One runner a generation
works; others stand by, and take over when its connection ends or it has not been seen for
``takeover_s``. An event that cannot be folded is parked in the transaction that passes it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import psycopg

from alphapulse.domain.ports import (
    Decode,
    FencedOut,
    LogSource,
    Page,
    Recorded,
    StoredRecord,
    StoreUnavailable,
    UndecodableEvent,
    UnknownEvent,
)
from alphapulse.projections.at_once import Brief
from alphapulse.projections.checkpoint import Checkpoint, RebuildNeeded
from alphapulse.projections.parked import TooManyParked, Unfoldable
from alphapulse.projections.read_database import CHANNEL, Connect, OpenReads, ReadDatabase, connection
from alphapulse.projections.read_model import (
    AnyReadModel,
    Directed,
    Folded,
    ReadModel,
    Scope,
    Touched,
    directives_of,
)

__all__ = [
    "CHANNEL",
    "Connect",
    "Folded",
    "Limits",
    "ReadModel",
    "Runner",
    "Session",
    "Touched",
    "connection",
]

log = logging.getLogger(__name__)

MAX_PAYLOAD = 7_900  # bytes; PostgreSQL refuses notifications of 8,000
TRIES = 3
UNAVAILABLE = (
    StoreUnavailable,
    OSError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,  # we paused for too long, such as for a compiler
)
_FIRST_PAGE = 100  # events, while their size is not known
ASIDE = 65_536  # bytes of payload that decode in about a millisecond

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    page_events: int = 1_000
    page_bytes: int = 8_000_000  # about; read ahead, so twice that is held
    batch_events: int = 1_000  # in one transaction
    batch_bytes: int = 4_000_000  # payload in one transaction; some 10 times that when decoded
    poll_s: float = 1.0  # longest wait for events before the runner shows that it is alive
    takeover_s: float = 10.0  # a holder not seen for so long is taken for dead
    backoff_s: tuple[float, float] = (0.1, 5.0)  # first and longest wait before the database is tried again


DEFAULT_LIMITS = Limits()


class Poison(Exception):
    """Some event of the batch can not be folded or written. The cause is attached."""


@dataclass(slots=True)
class Session:
    """One claim to a read model's generation over one connection. Ends with either."""

    reads: ReadDatabase
    model: AnyReadModel
    decode: Decode
    checkpoint: Checkpoint
    state: Any  # what the fold carries along, as of the checkpoint
    notify: bool
    limits: Limits = DEFAULT_LIMITS
    part: tuple[int, int] | None = None  # of the streams; None: all
    _foreign: dict[str, bool] = field(default_factory=dict)  # stored name: other read models' business
    _directives: frozenset[str] = frozenset()

    _brief: Brief | None = None  # the model, if it is; to find out takes 50 µs

    def __post_init__(self) -> None:
        model = self.model
        self._directives = directives_of(model)
        self._brief = model if isinstance(model, Brief) else None
        if isinstance(model, Directed):
            self.limits = replace(self.limits, batch_bytes=min(self.limits.batch_bytes, model.batch_bytes))

    @classmethod
    async def open(
        cls,
        reads: ReadDatabase,
        model: AnyReadModel,
        decode: Decode,
        checkpoint: Checkpoint,
        *,
        notify: bool,
        limits: Limits = DEFAULT_LIMITS,
        part: tuple[int, int] | None = None,
    ) -> Self:
        """Go on from ``checkpoint``, claimed over ``reads``. Only the live generation may ``notify``."""
        state = await reads.load(model, Scope(checkpoint.position, part))
        return cls(reads, model, decode, checkpoint, state, notify, limits, part)

    @property
    def position(self) -> int:
        return self.checkpoint.position

    async def take(self, page: Page) -> None:
        """Fold ``page`` in transactions of bounded size.

        Raises:
            FencedOut: another claim was made; nothing after the last commit is written.
        """
        ahead: asyncio.Future[list[Recorded | Unfoldable]] | None = None
        slices = list(_slices(page, self.limits, self._directives))
        try:
            for n, (records, upto) in enumerate(slices):
                items = await (ahead or self._decoded_aside(records))
                # While the database writes this one, the next one is decoded.
                ahead = (
                    asyncio.ensure_future(self._decoded_aside(slices[n + 1][0])) if slices[n + 1 :] else None
                )
                await self._settle(items, upto)
        finally:
            if ahead is not None:
                ahead.cancel()

    def wants(self, record: StoredRecord) -> bool:
        """Whether the event is ours: of a family we fold, or of a name that no code here knows."""
        if record.name in self.model.names:
            return True
        foreign = self._foreign.get(record.name)
        if foreign is None:
            ours = {_family(name) for name in self.model.names}
            foreign = _family(record.name) not in ours and self._known(record)
            self._foreign[record.name] = foreign
        return not foreign

    def _known(self, record: StoredRecord) -> bool:
        try:
            self.decode(record)
        except UnknownEvent:
            return False
        except UndecodableEvent:
            pass
        return True

    async def _decoded_aside(self, records: Sequence[StoredRecord]) -> list[Recorded | Unfoldable]:
        wanted = [record for record in records if self.wants(record)]
        return await _aside(self._decoded, wanted, weight=_weight(wanted))

    def _decoded(self, records: Sequence[StoredRecord]) -> list[Recorded | Unfoldable]:
        return [self._decoded_one(record) for record in records]

    def _decoded_one(self, record: StoredRecord) -> Recorded | Unfoldable:
        try:
            return self.decode(record)
        except (UnknownEvent, UndecodableEvent) as error:
            # Decoding is pure: another try would say the same.
            return Unfoldable(record, reason_of(error), tries=1)

    async def _settle(self, items: Sequence[Recorded | Unfoldable], upto: int) -> None:
        """Commit ``items``; where that fails halve them until the poison stands alone, and park that."""
        try:
            await self._commit(items, upto)
        except Poison as poison:
            if len(items) > 1:
                middle = len(items) // 2
                await self._settle(items[:middle], items[middle - 1].position)
                await self._settle(items[middle:], upto)
            else:
                await self._settle_one(items[0], upto, poison)

    async def _settle_one(self, item: Recorded | Unfoldable, upto: int, poison: Poison) -> None:
        """Try ``item`` again with carried state read anew; park it when its tries are used up."""
        assert isinstance(item, Recorded), f"an event that was not decoded cannot fail to fold: {item}"
        for _ in range(TRIES - 1):
            self.state = await self.reads.load(self.model, Scope(self.position, self.part))
            try:
                await self._commit([item], upto)
            except Poison as again:
                poison = again
            else:
                return
        await self._commit([Unfoldable(item, reason_of(poison.__cause__), TRIES)], upto)

    async def _commit(self, items: Sequence[Recorded | Unfoldable], upto: int) -> None:
        """Write all that ``items`` change together with the new position, or nothing.

        Raises:
            Poison: an event makes the fold or the write fail.
            FencedOut: another claim was made.
        """
        events = [i for i in items if isinstance(i, Recorded)]
        refused = [i for i in items if isinstance(i, Unfoldable)]
        directed = any(event.name in self._directives for event in events)
        with blamed():
            folded = await self._folded_aside(events, weight=ASIDE * (directed or len(events) > 16))
        if not refused and not directed and await self._committed_at_once(folded, upto, bool(events)):
            return
        began, state = asyncio.get_running_loop().time(), folded.state
        async with self.reads.transaction():
            moved = await self.reads.advance(self.checkpoint, upto)
            if events:
                with blamed():
                    await self.reads.write(self.model, folded.changes)
            if refused:
                await self.reads.park(self.checkpoint, refused)
            if directed:
                state = await self.reads.load(self.model, Scope(upto, self.part))
            if self.notify:
                await self.reads.notify(self._notice(folded, upto))
            if asyncio.get_running_loop().time() - began > self.limits.poll_s:
                moved = await self.reads.advance(moved, upto)  # seen now, not when the transaction began
        self.checkpoint, self.state = moved, state
        level = logging.ERROR if self.notify else logging.DEBUG  # a rebuild tells about them at its end
        for event in refused:
            name = event.record.name
            log.log(level, "%s parked %s at position %d: %s", moved, name, event.position, event.reason)

    async def _committed_at_once(self, folded: Folded[Any, Any], upto: int, has_changes: bool) -> bool:
        """Whether it was little enough for one statement, and is committed. If not, nothing is."""
        parts: Sequence[Any] | None = ()
        if has_changes:
            with blamed():
                parts = self._brief.parts(folded.changes) if self._brief else None
        if parts is None:
            return False
        notice = self._notice(folded, upto) if self.notify else None
        if not await self.reads.commit_at_once(self.checkpoint, upto, parts, notice):
            return False
        self.checkpoint, self.state = replace(self.checkpoint, position=upto), folded.state
        return True

    def _notice(self, folded: Folded[Any, Any], upto: int) -> str:
        return read_notice(self.model.name, previous=self.position, position=upto, touched=folded.touched)

    async def _folded_aside(self, events: Sequence[Recorded], *, weight: int) -> Folded[Any, Any]:
        """The fold of ``events``; while a long one is under way, others see that we are here."""
        if weight < ASIDE:
            return self._folded(events)
        folding = asyncio.ensure_future(asyncio.to_thread(self._folded, events))
        try:
            while not (await asyncio.wait([folding], timeout=self.limits.poll_s))[0]:
                await _show_alive(self)
        finally:
            folding.cancel()  # does nothing to one that is done
        return folding.result()

    def _folded(self, events: Sequence[Recorded]) -> Folded[Any, Any]:
        return self.model.fold(self.state, events) if events else Folded(self.state, None, {})


@dataclass(slots=True)
class Runner:
    """Keeps the live generation of one read model at the end of the log, whatever fails."""

    model: AnyReadModel
    open_reads: OpenReads
    source: LogSource
    decode: Decode
    limits: Limits = DEFAULT_LIMITS

    async def run(self) -> None:
        """Run until cancelled, which is safe at any moment. A lost database is waited for."""
        waits = _Backoff(self.limits.backoff_s)
        stuck = ""
        while True:
            try:
                async with self.open_reads() as reads:
                    session = await self._claimed(reads)
                    await self._follow(session, waits)
            except FencedOut as error:
                log.warning("%s; standing by", error)
            except (RebuildNeeded, TooManyParked) as error:
                if str(error) != stuck:  # say it once, then look now and again whether somebody helped
                    log.error("%s", error)
                    stuck = str(error)
                await asyncio.sleep(self.limits.backoff_s[1])
            except UNAVAILABLE as error:
                log.warning("%s waits for the database: %s", self.model.name, reason_of(error))
                await waits.wait()

    async def _claimed(self, reads: ReadDatabase) -> Session:
        """A session of the live generation, as soon as nobody else is seen to work on it.

        The lock goes with the connection of its holder, so a crash is noticed at once. It is a hint
        only: a frozen holder keeps it. What makes a takeover safe is the epoch.
        """
        name = self.model.name
        waits = _Backoff((0.02, min(1.0, self.limits.takeover_s)))
        generation = await reads.live_generation(name, self.model.code_version)
        while not await reads.is_free(name, generation, self.limits.takeover_s):
            await waits.wait()
            generation = await reads.live_generation(name, self.model.code_version)
        checkpoint = await reads.claim(name, generation)
        # Should we freeze inside a transaction, its row lock must not keep the next holder away.
        await reads.limit_silence(self.limits.takeover_s)
        log.info("%s runs from position %d, epoch %d", checkpoint, checkpoint.position, checkpoint.epoch)
        return await Session.open(reads, self.model, self.decode, checkpoint, notify=True, limits=self.limits)

    async def _follow(self, session: Session, waits: "_Backoff") -> None:
        async with aclosing(pages(self.source, session.position, self.limits)) as coming:
            async for page in coming:
                if page.scanned_to > session.position:
                    await session.take(page)
                else:
                    await _show_alive(session)
                waits.reset()


async def pages(source: LogSource, after: int, limits: Limits) -> AsyncGenerator[Page, None]:
    """What ``source`` holds after position ``after``, page by page; far behind, one is read ahead."""
    wanted = _FIRST_PAGE

    def read(position: int) -> asyncio.Task[Page]:
        asked = min(wanted, limits.page_events)
        return asyncio.ensure_future(source.next(position, limit=asked, timeout_s=limits.poll_s))

    ahead = read(after)
    try:
        while True:
            page = await ahead
            lags = len(page.records) >= min(wanted, limits.page_events)
            if page.records:
                # Events differ in size a thousandfold: ask for as many as have been a page of late.
                wanted = max(1, limits.page_bytes * len(page.records) // (1 + _weight(page.records)))
            # Far behind, the next page loads while this one is folded. At the end of the log that would only
            # fix its content too early: what comes meanwhile would wait for one batch more.
            if lags:
                ahead = read(page.scanned_to)
            yield page
            if not lags:
                ahead = read(page.scanned_to)
    finally:
        ahead.cancel()
        with suppress(asyncio.CancelledError, *UNAVAILABLE):
            await ahead


def _weight(records: Sequence[StoredRecord]) -> int:
    return sum(len(record.state) for record in records)


def read_notice(name: str, *, previous: int, position: int, touched: Touched) -> str:
    """The payload by which readers learn what changed; ``touched`` is null when it would be too long."""
    notice = {"projection": name, "previous": previous, "position": position, "touched": touched}
    payload = json.dumps(notice, separators=(",", ":"))
    if len(payload) > MAX_PAYLOAD:
        payload = json.dumps(notice | {"touched": None}, separators=(",", ":"))
    return payload


def _slices(page: Page, limits: Limits, ends: frozenset[str]) -> Iterator[tuple[Sequence[StoredRecord], int]]:
    """Runs of records within the limits of one transaction, each with the position it reaches.

    An event of the names ``ends`` ends its run.
    """
    run: list[StoredRecord] = []
    size = 0
    for record in page.records:
        size += len(record.state)
        if run and (len(run) == limits.batch_events or size > limits.batch_bytes or run[-1].name in ends):
            yield run, run[-1].position
            run, size = [], len(record.state)
        run.append(record)
    yield run, page.scanned_to


def _family(name: str) -> str:
    """A stored name without its version: all versions of what a read model folds concern it."""
    return name.rpartition(".v")[0] or name


def reason_of(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def blamed() -> Iterator[None]:
    """Tell errors that an event is to blame for from those of the world around.

    Raises:
        Poison: data that does not fit, or any exception of the fold itself.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded) as error:
        raise Poison from error  # the last one: such as a text too long for its index
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:  # the server's: a missing table or right, whatever the event
            raise
        raise Poison from error  # psycopg's own: a value that no type can hold
    except (FencedOut, MemoryError, psycopg.Error, *UNAVAILABLE):
        raise
    except Exception as error:
        raise Poison from error


async def _aside(work: Callable[[Any], Result], argument: Any, *, weight: int) -> Result:
    """``work(argument)``, in a thread where its weight would hold up this process's other loops."""
    if weight < ASIDE:
        return work(argument)
    return await asyncio.to_thread(work, argument)


async def _show_alive(session: Session) -> None:
    """Let standby runners and health see that we are here; notice a rival's claim also when idle."""
    async with session.reads.transaction():
        session.checkpoint = await session.reads.advance(session.checkpoint, session.position)


class _Backoff:
    """Waits that double up to a limit."""

    def __init__(self, limits: tuple[float, float]) -> None:
        self._first, self._longest = limits
        self.reset()

    def reset(self) -> None:
        self._next = self._first

    async def wait(self) -> None:
        await asyncio.sleep(self._next)
        self._next = min(2 * self._next, self._longest)
