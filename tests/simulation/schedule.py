"""One schedule: a world from a seed, its faults, calm, and what must hold then."""

import asyncio
import gc
import hashlib
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from alphapulse.domain.ports import StoreUnavailable, VersionConflict
from tests.simulation import checks, faults, shop
from tests.simulation.actors import ROLES, Business, Request, Role, make_store
from tests.simulation.faults import Fault
from tests.simulation.loop import Process, SimulatedLoop, Stuck
from tests.simulation.world import Gate, World

CALM_S = 90.0  # after the last fault everything must have settled by then
LOOKS_S = 0.25
ANSWER_S = 2.0  # a client then sends its command again, to whomever


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    seed: int
    faults: Sequence[Fault]
    violations: Sequence[str]
    trace: Sequence[str]
    steps: int
    seconds: float  # of the world's own time
    events: int

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


@dataclass(slots=True)
class Plan:
    """What a seed says before anything runs."""

    processes: Sequence[str]
    commands: Sequence[tuple[float, shop.Place]]  # when, what
    rows: Sequence[tuple[int, int]]
    faults: Sequence[Fault]


def plan(seed: int) -> Plan:
    rng = random.Random(f"plan {seed}")
    processes = [
        f"{role}-{n}"
        for role, most in (("api", 2), ("importer", 1), ("relay", 2), ("policy", 2), ("projector", 2))
        for n in range(rng.randint(1, most))
    ]
    commands = [
        (round(rng.uniform(0, faults.LASTS_S), 3), shop.Place(n, _amount(rng)))
        for n in range(1, rng.randint(3, 12))
    ]
    rows = [(1000 + n if rng.random() > 0.1 else 0, rng.randint(1, 50)) for n in range(rng.randint(0, 8))]
    return Plan(processes, commands, rows, faults.drawn(rng, processes))


def _amount(rng: random.Random) -> int:
    return rng.choices([rng.randint(1, 9_999), -1, shop.UNWRITABLE], [10, 1, 1])[0]


def run(seed: int, given: Sequence[Fault] | None = None, *, tracing: bool = True) -> Result:
    """Run the schedule of ``seed``, with ``given`` faults in place of its own if there are any."""
    planned = plan(seed)
    if given is not None:
        planned.faults = given
    random.seed(seed)  # production code draws its pauses from here
    loop = SimulatedLoop(random.Random(f"order {seed}"))
    schedule = _Schedule(seed, planned, loop, tracing)
    gc_was_on = gc.isenabled()
    gc.disable()  # nothing may happen at a moment that the seed does not decide
    try:
        loop.run_until_complete(schedule.run())
    except Stuck as stuck:
        schedule.world.violate(f"stuck {stuck}")
    finally:
        schedule.end()
        loop.close()
        if gc_was_on:
            gc.enable()
    return schedule.result()


class _Schedule:
    def __init__(self, seed: int, planned: Plan, loop: SimulatedLoop, tracing: bool) -> None:
        self.seed, self.plan, self.loop = seed, planned, loop
        self.world = World(loop, random.Random(f"world {seed}"), tracing=tracing)
        self.business = Business(rows=list(planned.rows))
        self.alive: dict[str, Gate] = {}
        self.lives = 0
        self.acknowledged: dict[int, Sequence[int]] = {}  # number of the order: positions
        self.gates: list[Gate] = []

    async def run(self) -> None:
        for name in self.plan.processes:
            self.start(name)
        clients = [asyncio.create_task(self.client(at, command)) for at, command in self.plan.commands]
        await self.cause_faults()
        await self.calm()
        if not await self.settled(clients):
            self.world.violate("not settled: " + "; ".join(await self.unsettled(clients)))
        for client in clients:
            client.cancel()
        await checks.check(self.world, self.business, self.plan.commands, self.acknowledged)
        for error in self.loop.errors:
            self.world.violate(error)

    # -- processes ----------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self.lives += 1
        process = self.loop.process(f"{name}#{self.lives}")
        gate = Gate(self.world, process)
        self.alive[name] = gate
        self.gates.append(gate)
        self.world.say(process.name, "starts")
        process.spawn(self.loop, self.live(name, Role(self.world, self.business, gate, make_store(gate))))

    async def live(self, name: str, role: Role) -> None:
        try:
            await ROLES[name.partition("-")[0]](role)
        except Exception as error:
            if not role.gate.process.dead:
                self.world.violate(f"{role.name} ended by {type(error).__name__}: {error}")

    def kill(self, name: str) -> None:
        gate = self.alive.pop(name, None)
        if gate is None:
            return
        self.world.say(gate.process.name, "killed")
        self.business.inboxes.pop(gate.process.name, None)
        gate.process.kill()
        gate.die()

    def end(self) -> None:
        """Stop whatever still runs, so that nothing of this schedule outlives it."""
        for name in list(self.alive):
            self.kill(name)
        for task in list(self.loop.world.tasks):
            task.cancel()
        tasks = [
            t for p in (self.loop.world, *(g.process for g in self.gates)) for t in p.tasks if not t.done()
        ]
        if tasks:
            with suppress(Stuck):
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=30))

    # -- clients ------------------------------------------------------------------------------------

    async def client(self, at: float, command: shop.Place) -> None:
        """Sends ``command`` until somebody says that it is done."""
        await asyncio.sleep(at)
        while True:
            inboxes = list(self.business.inboxes.values())
            if not inboxes:
                await asyncio.sleep(0.2)
                continue
            request = Request(command, self.loop.create_future())
            self.world.rng.choice(inboxes).put_nowait(request)
            with suppress(TimeoutError, StoreUnavailable, VersionConflict):
                async with asyncio.timeout(ANSWER_S):
                    self.acknowledged[command.number] = await request.answer
                self.world.say("client", f"order {command.number} at {self.acknowledged[command.number]}")
                return
            self.world.say("client", f"order {command.number} again")

    # -- faults -------------------------------------------------------------------------------------

    async def cause_faults(self) -> None:
        for fault in self.plan.faults:
            await self.sleep_until(fault.at)
            self.world.say("fault", str(fault))
            await self.cause(fault)
        await self.sleep_until(faults.LASTS_S)

    async def sleep_until(self, moment: float) -> None:
        """Copies of the servers' disks are taken on the way, for those faults that need one."""
        copies = {fault.kind for fault in self.plan.faults}
        while (left := moment - self.world.now) > 0:
            await asyncio.sleep(min(left, 0.4))
            if "bus copy restored" in copies:
                self.world.bus_copies.append((self.world.now, await self.world.bus.read(0, limit=10_000)))
            if "reads power cut" in copies:
                self.world.read_copies.append((self.world.now, self.world.reads.copy()))

    async def cause(self, fault: Fault) -> None:
        world = self.world
        match fault.kind:
            case "crash":
                self.kill(fault.target)
                world.spawn(self.start_later(fault.target, fault.amount))
            case "freeze":
                if gate := self.alive.get(fault.target):
                    gate.process.frozen = True
                    world.spawn(self.thaw_later(gate.process, fault.amount))
            case "slow":
                world.slow[fault.target] = world.now + fault.amount
            case "clock jumps":
                world.clock_jumped_s += fault.amount
            case "listeners cut":
                world.bus.disconnect()
            case "bus tail lost" | "bus copy restored" | "bus gone":
                await self.harm_bus(fault)
            case "reads power cut":
                before = [copy for at, copy in world.read_copies if at <= world.now - fault.amount]
                if before:
                    world.reads.restore(before[-1])
            case "commits refused" | "replies lost" | "commits late" | "commits stalled" | "publish refused":
                world.next[fault.kind] += int(fault.amount)
            case "acks lost" | "publish late" | "reads refused" | "reads lost":
                world.next[fault.kind] += int(fault.amount)
            case _:
                world.until[fault.kind] = world.now + fault.amount

    async def harm_bus(self, fault: Fault) -> None:
        world = self.world
        held = await world.look_at_stream()
        if fault.kind == "bus gone":
            world.bus.lose()
        elif fault.kind == "bus tail lost":
            world.bus.restore(held[: -int(fault.amount)])
        else:
            copies = [copy for at, copy in world.bus_copies if at <= world.now - fault.amount]
            if copies:
                world.bus.restore(copies[-1])
        if held:
            world.bus.disconnect()  # the server went down with it

    async def start_later(self, name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if name not in self.alive:
            self.start(name)

    async def thaw_later(self, process: Process, after_s: float) -> None:
        await asyncio.sleep(after_s)
        process.frozen = False

    async def calm(self) -> None:
        self.world.say("world", "calm")
        self.world.calm()
        for gate in self.alive.values():
            gate.process.frozen = False

    # -- the end ------------------------------------------------------------------------------------

    async def settled(self, clients: Sequence["asyncio.Task[None]"]) -> bool:
        deadline = self.world.now + CALM_S
        while self.world.now < deadline:
            await asyncio.sleep(LOOKS_S)
            if not await self.unsettled(clients):
                return True
        return False

    async def unsettled(self, clients: Sequence["asyncio.Task[None]"]) -> list[str]:
        left = [f"{c.get_name()} waits" for c in clients if not c.done()]
        if self.business.acknowledged_rows < len(self.plan.rows):
            left.append(f"{self.business.acknowledged_rows} of {len(self.plan.rows)} rows imported")
        return left or await checks.lag(self.world, self.business)

    def result(self) -> Result:
        return Result(
            seed=self.seed,
            faults=self.plan.faults,
            violations=self.world.violations,
            trace=self.world.trace,
            steps=self.loop.steps,
            seconds=self.world.now,
            events=len(self.world.store._log),
        )
