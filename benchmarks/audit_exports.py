"""A million sealed events into a bundle, and the bundle verified: time, and the most memory of either.

Three fifths are batches of ten trades, three tenths small facts, one tenth decisions with their votes. Both
commands run as they are installed, in processes of their own; the verifier is the file out of the bundle.
That a bundle is found valid is checked, or the figure would be of nothing.
"""

import asyncio
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import uvloop

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.market.events import WatermarkPassed
from alphapulse.domain.ports import NewEvent
from alphapulse.processes.seal import run_seal
from benchmarks.store import server
from tests.decision_events import decision
from tests.provenance.given import trades

EVENTS = int(os.environ.get("AUDIT_EVENTS", "1_000_000"))
MOST_MB = 300.0
MIX = "TTTTTTFFFD"  # trades, facts, decisions
SIGNER = KeySigner("example.org/log", bytes(32))
ROOT = Path(__file__).parents[1]
_COMMIT = 500


def run() -> Iterator[dict[str, Any]]:
    with server() as database, tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as name:
        folder, url = Path(name), database()
        (folder / "seal.key").write_text(SIGNER.secret() + "\n")
        uvloop.run(fill(url, folder))
        out = folder / "bundle.tar.gz"
        environment = os.environ | {"ALPHAPULSE_DATABASE_URL": url, "ALPHAPULSE_DATA_DIR": str(folder)}
        seconds, memory = took([sys.executable, "-m", "alphapulse", "audit", "export", str(out)], environment)
        size = out.stat().st_size / 1e6
        yield figure(f"export of {EVENTS:,} events, a bundle of {size:,.0f} MB", seconds, "s")
        yield figure("export, most memory", memory, "MB", MOST_MB)
        script = folder / "verify.py"
        with tarfile.open(out) as bundle:
            bundle.extract("verify.py", folder, filter="data")
        words = [sys.executable, "-I", str(script), str(out), "--key", str(SIGNER.key)]
        seconds, memory = took(words, environment)
        yield figure(f"verification of {EVENTS:,} events by the file in the bundle", seconds, "s")
        yield figure("verification, most memory", memory, "MB", MOST_MB)


async def fill(url: str, folder: Path) -> None:
    """A log of so many events, all of them sealed."""
    kinds = {kind: states(kind) for kind in set(MIX)}
    versions = dict.fromkeys(kinds, 0)
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        for first in range(0, EVENTS, _COMMIT):
            group = []
            for n in range(first, min(first + _COMMIT, EVENTS)):
                kind = MIX[n % len(MIX)]
                versions[kind] += 1
                event = kinds[kind][versions[kind] % len(kinds[kind])]
                envelope = msgspec.structs.replace(event.envelope, event_id=UUID(int=n + 1))
                group.append(msgspec.structs.replace(event, version=versions[kind], envelope=envelope))
            await store.append(group)
        stop = asyncio.Event()
        sealing = asyncio.create_task(run_seal(url, SIGNER, folder, stop))
        while not await seals.sealed(size=EVENTS):  # noqa: ASYNC110  another connection seals
            await asyncio.sleep(0.2)
        stop.set()
        await sealing


def states(kind: str) -> Sequence[NewEvent]:
    """Some of a kind, to be told again and again."""
    rng = np.random.default_rng(1)

    def made(n: int) -> object:
        if kind == "T":
            return trades(rng, n, 10)
        return decision(n) if kind == "D" else WatermarkPassed(venue="test", symbol="BTC_USD", time=n)

    return [codec.new_event(f"bench-{kind}", 1, made(n)) for n in range(1, 101)]


def took(words: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and MB of memory at most."""
    begun, most = time.perf_counter(), 0
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:  # what the kernel says at the end includes the memory of who started it
        told = status.read_text().partition("VmHWM:")[2].split(maxsplit=1)[:1]
        most = max(most, *map(int, told), 0)
        time.sleep(0.02)
    seconds = time.perf_counter() - begun
    assert process.returncode == 0, process.communicate()[0]
    return seconds, most / 1024


def figure(name: str, ours: float, unit: str, most: float | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "peer": "our goal" if most else "-",
        "ours": ours,
        "theirs": most,
        "unit": unit,
        "ratio": most and most / ours,
        "goal": most and 1.0,
    }
