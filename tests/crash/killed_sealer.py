"""A sealer that kills itself, as kill -9 does, at a moment that is named.

``python -m tests.crash.killed_sealer URL FOLDER MOMENT COUNT``: it dies when the moment comes for the COUNTth
time; of "never" it lives until SIGTERM. Without arguments it reads them from lines of stdin, runs a sealer
for each, a fork of its own (importing takes longer than sealing), and prints how it ended.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from alphapulse.adapters.provenance import kept
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.processes.seal import Sealer
from tests.processes.sealing import QUICK, SIGNER

MOMENTS = (
    "before the lease",
    "after the lease",
    "before the tree is read",
    "before read",
    "after read",
    "before signing",
    "before commit",
    "after commit",
    "before keeping",
    "while the kept file is written",
    "before the kept file is renamed",
    "after the kept file is renamed",
    "after keeping",
)


class Doom:
    def __init__(self, moment: str, count: int) -> None:
        self._moment, self._left = moment, count

    def at(self, moment: str) -> None:
        if moment == self._moment:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Around:
    """``inner``, with moments before and after calls of some of its methods."""

    def __init__(self, inner: Any, doom: Doom, **moments: str) -> None:
        self._inner, self._doom, self._moments = inner, doom, moments

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._moments:
            return found
        what = self._moments[name]

        async def call(*arguments: Any, **options: Any) -> Any:
            self._doom.at(f"before {what}")
            answer = await found(*arguments, **options)
            self._doom.at(f"after {what}")
            return answer

        return call


class DoomedSigner:
    key = SIGNER.key

    def __init__(self, doom: Doom) -> None:
        self._doom = doom

    def sign(self, message: bytes) -> bytes:
        self._doom.at("before signing")
        return SIGNER.sign(message)


class DoomedKept(kept.KeptCheckpoint):
    doom: Doom

    def keep(self, note: str) -> None:
        self.doom.at("before keeping")
        super().keep(note)
        self.doom.at("after keeping")


def doom_files(doom: Doom) -> None:
    """Moments between the steps that replace the kept file."""
    fsync, replace = os.fsync, Path.replace

    def dying_fsync(descriptor: int) -> None:
        doom.at("while the kept file is written")
        fsync(descriptor)

    def dying_replace(self: Path, target: Path) -> Path:
        doom.at("before the kept file is renamed")
        answer = replace(self, target)
        doom.at("after the kept file is renamed")
        return answer

    os.fsync = dying_fsync  # type: ignore[assignment]
    Path.replace = dying_replace  # type: ignore[method-assign,assignment]


async def main(url: str, folder: str, moment: str, count: int) -> None:
    doom, stop = Doom(moment, count), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    doom_files(doom)
    checkpoint = DoomedKept(Path(folder), SIGNER.key.name)
    checkpoint.doom = doom
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        await Sealer(
            store=store,
            seals=Around(seals, doom, ahead="read", append="commit", sealed="the tree is read"),
            leases=Around(store.leases, doom, acquire="the lease"),
            signer=DoomedSigner(doom),
            kept=checkpoint,
            holder=f"{os.getpid()}",
            limits=QUICK,
        ).run(stop)


def serve() -> None:
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            url, folder, moment, count = line.rstrip("\n").split("\t")
            asyncio.run(main(url, folder, moment, int(count)))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        serve()
