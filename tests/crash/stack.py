"""A whole running stack to be killed piece by piece, and what must be true of it afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats

from alphapulse.adapters.bus.envelope import POSITION
from alphapulse.adapters.provenance.kept import FOLDER, KeptCheckpoint
from alphapulse.adapters.provenance.keys import ed25519, load_signer
from alphapulse.adapters.store import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from alphapulse.processes.rebuilding import open_rebuilder, read_model
from alphapulse.processes.wiring import SEAL_KEY
from tests.launch import environment, eventually
from tests.processes.sealing import assert_whole_tree

HEALTHY_S = 90.0


@dataclass
class Stack:
    """``alphapulse up`` on ``directory``, started again whenever it is found dead."""

    directory: Path
    running: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    sequence: int = 0  # of the bus: everything up to here was checked
    position: int = 0  # of the event in that message

    def start(self) -> None:
        """Start the stack; return when it says that it is ready."""
        with (self.directory / "up.err").open("ab") as errors:
            command = [sys.executable, "-m", "alphapulse", "up", "--port", "0", "--json"]
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(self.directory / "data")],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(),
                cwd="/",
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, (
            f"up ended with {self.process.wait()}:\n{(self.directory / 'up.err').read_text()[-2000:]}"
        )
        self.running = json.loads(line)

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert self.process.stdout
        self.process.stdout.close()
        return code

    def kill(self, victim: str) -> None:
        """kill -9 ``victim``: a role, postgres, nats, or ``up`` itself with the whole tree under it."""
        pid = self._pid(victim)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pid(self, victim: str) -> int | None:
        assert self.process
        if victim == "up":
            return self.process.pid
        if victim == "postgres":
            postmaster = self.directory / "data" / "postgres" / "data" / "postmaster.pid"
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(postmaster.read_text().split()[0])
            return None
        return child_of(self.process.pid, "nats-server" if victim == "nats" else f"run {victim}")

    def ensure(self) -> None:
        """Start it again if ``up`` itself was killed."""
        assert self.process
        if self.process.poll() is not None:
            assert self.process.stdout
            self.process.stdout.close()
            self.start()

    def wait_healthy(self) -> dict[str, Any]:
        """Return what readiness says once nothing lags behind."""
        deadline = time.monotonic() + HEALTHY_S
        seen: object = None
        while time.monotonic() < deadline:
            self.ensure()
            with contextlib.suppress(OSError, urllib.error.URLError, json.JSONDecodeError):
                with urllib.request.urlopen(self.running["health"] + "/ready", timeout=5) as answer:
                    seen = json.load(answer)
                if _is_level(seen):
                    return dict(seen)  # type: ignore[call-overload,no-any-return]
            time.sleep(0.1)
        raise AssertionError(f"not healthy within {HEALTHY_S} s: {seen}")

    @contextlib.contextmanager
    def importing(self, witness: Path, files: list[Path]) -> Iterator[subprocess.Popen[str]]:
        module = "tests.crash.witnessed_import"
        process = subprocess.Popen(
            [sys.executable, "-m", module, self.running["database_url"], str(witness), *map(str, files)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd="/",
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    # -- what must be true --------------------------------------------------------------------------

    async def events(self, after: int, until: int) -> set[tuple[int, str]]:
        """Position and id of every event with ``after`` < position <= ``until``."""
        async with PostgresEventStore(self.running["database_url"]) as store:
            found: set[tuple[int, str]] = set()
            while after < until:
                page = await store.read(after, until=until)
                found |= {(record.position, str(record.envelope.event_id)) for record in page.records}
                after = page.scanned_to
            return found

    async def trades(self, stream: str) -> list[TradeColumns]:
        async with PostgresEventStore(self.running["database_url"]) as store:
            found: list[TradeColumns] = []
            after = 0
            while page := await store.read_stream(stream, after=after):
                found += [codec.decode(record).event.columns for record in page]
                after = page[-1].version
            return found

    async def differences(self, model: str) -> object:
        """What ``model`` holds otherwise than a fresh rebuild of it; None when they are equal."""
        async with open_rebuilder(self.running["database_url"], read_model(model)) as rebuilder:
            comparison = await rebuilder.verify()
        return None if comparison.equal else comparison

    def check_tree(self) -> None:
        """Every event is sealed once, in one tree, and the checkpoint kept outside is the newest."""
        data = self.directory / "data"
        key = load_signer(data / SEAL_KEY).key
        file = KeptCheckpoint(data / FOLDER, key.name)

        def is_kept() -> bool:
            size = assert_whole_tree(self.running["database_url"], key)
            note = file.read()
            return note is not None and open_checkpoint(note, key, ed25519).size == size

        eventually(is_kept)

    async def check_bus(self) -> None:
        """Every event stands in the stream once and in order: read on from the last check."""
        async with PostgresEventStore(self.running["database_url"]) as store:
            positions: list[int] = []
            after, head = self.position, await store.head()
            while after < head:
                page = await store.read(after, until=head)
                positions += [record.position for record in page.records]
                after = page.scanned_to
        connection = await nats.connect(self.running["nats_url"])
        try:
            jetstream = connection.jetstream()
            state = (await jetstream.stream_info("ALPHAPULSE")).state
            # The stream begins anew only when it was lost, and here it never is.
            self.sequence = self.sequence or state.first_seq - 1
            assert state.last_seq == self.sequence + len(positions), state
            got: list[int] = []
            while len(got) < len(positions):
                self.sequence += 1
                message = await jetstream.get_msg("ALPHAPULSE", self.sequence)
                assert message.headers
                got.append(int(message.headers[POSITION]))
        finally:
            await connection.close()
        assert got == positions
        self.position = positions[-1] if positions else self.position


def child_of(parent: int, words: str) -> int | None:
    """The direct child of ``parent`` whose command line holds ``words``."""
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in map(int, task.read_text().split()):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words in line:
                    return pid
    return None


def _is_level(ready: Any) -> bool:
    lags = [p["lag_events"] for p in ready["projections"]] + [
        ready["relay"]["lag_events"],
        ready["sealed"]["lag_events"],
    ]
    return ready["status"] == "ok" and not any(lags)
