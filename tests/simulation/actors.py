"""What runs in the simulated processes: production code, wired to the twins over a gate."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from alphapulse.adapters.store.appender import Appender
from alphapulse.adapters.store.committing import Committing
from alphapulse.domain.ports import FencedOut, Recorded, StoreUnavailable, VersionConflict
from alphapulse.processes.follower import Follower, FollowerLimits
from alphapulse.processes.leasing import Holding
from alphapulse.processes.relay import Relay, RelayLimits, RelayReport
from alphapulse.processes.transact import transact
from alphapulse.projections.runner import Limits, Runner
from tests.simulation import shop
from tests.simulation.world import (
    Gate,
    GatedBus,
    GatedCommitting,
    GatedLeases,
    GatedStore,
    Watched,
    World,
    opened_reads,
)

RELAY = RelayLimits(window_messages=6, poll_s=1.5, lease_s=3.0, backoff_s=(0.05, 1.0), refusals=10)
FOLLOWER = FollowerLimits(buffer_messages=20, idle_s=1.2, backoff_s=(0.1, 1.0))
RUNNER = Limits(page_events=6, batch_events=4, poll_s=1.7, takeover_s=3.0, backoff_s=(0.1, 1.0))
APPEND_TIMEOUT_S = 3.0
LEASE_S = 2.0
IMPORT_STREAM = "imported-a-X"


@dataclass(slots=True)
class Request:
    """A command on its way to some api process, whose answer may never come."""

    command: shop.Place
    answer: asyncio.Future[list[int]]  # positions


@dataclass(slots=True)
class Business:
    """What is asked of the processes from outside, and what they acknowledged."""

    rows: list[tuple[int, int]] = field(default_factory=list)  # of the import: number, units
    inboxes: dict[str, asyncio.Queue[Request]] = field(default_factory=dict)  # of api processes alive
    acknowledged_rows: int = 0
    confirmed: int = 0  # up to this position, by the policy that is at it


@dataclass(slots=True)
class Role:
    """A process of some kind: what it needs, and how it runs until it is killed."""

    world: World
    business: Business
    gate: Gate
    store: GatedStore

    @property
    def name(self) -> str:
        return self.gate.process.name


def make_store(gate: Gate) -> GatedStore:
    async def open_() -> Committing:
        await gate.hop()
        if gate.world.on("store down"):
            raise ConnectionRefusedError("down")
        return GatedCommitting(gate)

    return GatedStore(gate, Appender(open_, timeout_s=APPEND_TIMEOUT_S))


async def api(role: Role) -> None:
    """Takes commands, several at a time."""
    inbox: asyncio.Queue[Request] = asyncio.Queue()
    role.business.inboxes[role.name] = inbox
    at_work: set[asyncio.Task[None]] = set()
    while True:
        request = await inbox.get()
        task = asyncio.create_task(handle(role, request))
        at_work.add(task)
        task.add_done_callback(at_work.discard)


async def handle(role: Role, request: Request) -> None:
    try:
        recorded = await place(role, request.command)
    except (StoreUnavailable, VersionConflict) as error:
        outcome: list[int] | Exception = error
    else:
        outcome = [r.position for r in recorded]
    await role.gate.hop()
    if not request.answer.done():
        if isinstance(outcome, Exception):
            request.answer.set_exception(outcome)
        else:
            request.answer.set_result(outcome)


async def place(role: Role, command: shop.Place) -> list[Recorded]:
    stream = f"orders-{'ab'[command.number % 2]}-X"
    return list(
        await transact(
            role.store,
            shop.orders,
            stream,
            command,
            command_id=command_id(command),
            codec=shop.codec,
        )
    )


def command_id(command: shop.Place) -> UUID:
    return shop.command_id(command.number)


async def importer(role: Role) -> None:
    """Appends the rows of a file, and goes on behind what is there already."""
    rows, business = role.business.rows, role.business
    while business.acknowledged_rows < len(rows):
        try:
            done = await role.store.version(IMPORT_STREAM)
            while done < len(rows):
                await append_rows(role, done)
                done = min(done + 2, len(rows))
                business.acknowledged_rows = max(business.acknowledged_rows, done)
                await asyncio.sleep(role.world.rng.uniform(0.1, 1.5))
            business.acknowledged_rows = done
        except (StoreUnavailable, VersionConflict):
            await asyncio.sleep(0.3)
    await asyncio.Event().wait()


async def append_rows(role: Role, done: int) -> None:
    rows = role.business.rows[done : done + 2]
    events = [
        shop.imported(IMPORT_STREAM, done + i, number, units)
        if number
        else shop.alien(IMPORT_STREAM, done + i)
        for i, (number, units) in enumerate(rows, 1)
    ]
    while True:
        try:
            await role.store.append(events)
            return
        except StoreUnavailable:
            await asyncio.sleep(0.1)  # the same again: ids follow from what is said


async def relay(role: Role) -> None:
    async def report(state: RelayReport) -> None:
        role.gate.check()
        if state.problem:
            role.gate.say(f"relay: {state.problem}")

    await Relay(
        store=role.store,
        bus=GatedBus(role.gate),
        leases=GatedLeases(role.gate),
        report=report,
        holder=role.name,
        limits=RELAY,
    ).run(asyncio.Event())


async def projector(role: Role) -> None:
    model: Any = shop.BriefBook() if role.name.startswith("projector-0") else shop.Book()
    async with Follower(role.store, GatedBus(role.gate), FOLLOWER) as follower:
        source = Watched(role.gate, follower)
        await Runner(model, lambda: opened_reads(role.gate), source, shop.codec.decode, RUNNER).run()


async def policy(role: Role) -> None:
    """Confirms every order, once; alone, as far as it knows."""
    holding = Holding(leases=GatedLeases(role.gate), name="policy", holder=role.name, duration_s=LEASE_S)
    stop = asyncio.Event()
    async with Follower(role.store, GatedBus(role.gate), FOLLOWER) as follower:
        source = Watched(role.gate, follower)
        while True:
            try:
                async with holding.held(stop):
                    await announce(role, holding)
                    await confirm_all(role, holding, source)
            except (StoreUnavailable, FencedOut, VersionConflict) as error:
                role.gate.say(f"policy: {type(error).__name__}")
                await asyncio.sleep(0.3)


async def announce(role: Role, holding: Holding) -> None:
    """A new holder says so: whatever an earlier one still tries must fail from here on."""
    fence = await holding.renewed()
    await transact(
        role.store,
        shop.notices,
        "shifts",
        shop.Noticed(f"epoch {fence.epoch}"),
        command_id=shop.command_id(-fence.epoch),
        actor=f"policy {fence.epoch}",
        fence=fence,
        codec=shop.codec,
    )


async def confirm_all(role: Role, holding: Holding, source: Watched) -> None:
    after = 0
    while True:
        page = await source.next(after, limit=6, timeout_s=LEASE_S / 3)
        await holding.renewed()
        for record in page.records:
            if record.name in ("shop.ordered.v1", "shop.ordered.v2"):
                await confirm(role, holding, shop.codec.decode(record))
        after = page.scanned_to
        role.business.confirmed = after
        role.gate.check()


async def confirm(role: Role, holding: Holding, order: Recorded) -> None:
    fence = await holding.renewed()
    await transact(
        role.store,
        shop.confirmations,
        f"confirmed-{order.stream.partition('-')[2]}-{order.stream[:3]}",
        shop.Confirmed(str(order.envelope.event_id)),
        command_id=shop.confirmation_id(order),
        cause=order,
        actor=f"policy {fence.epoch}",
        fence=fence,
        codec=shop.codec,
    )


ROLES: Mapping[str, Callable[[Role], Awaitable[None]]] = {
    "api": api,
    "importer": importer,
    "relay": relay,
    "policy": policy,
    "projector": projector,
}
