"""Bundles that wait to be fetched: files in a folder, each under a token that nobody guesses, for a while.

The folder holds SHA-256 of the tokens, so reading it gives nobody a link. The age of a file is that of its
last change: it lasts over a restart.
"""

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from alphapulse.graphql.downloads import Gone, NotThere

_TOKEN_BYTES = 32
_REMEMBERED = 1_000  # names of files that expired
_SUFFIX = ".tar.gz"
_CLEAN_S = 60.0

log = logging.getLogger(__name__)


class ShelfFull(Exception):
    """As many exports wait to be fetched as may; fetch them, or ask again when they have expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfLimits:
    """``file_bytes`` is of one export's events, packed."""

    files: int = 20
    bytes: int = 4_000_000_000
    file_bytes: int = 500_000_000
    age_s: float = 3_600.0


class ExportShelf:
    def __init__(
        self, folder: Path, limits: ShelfLimits | None = None, now_s: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.limits, self._now_s = folder, limits or ShelfLimits(), now_s
        self._gone: dict[str, None] = {}

    def place(self) -> tuple[str, Path]:
        """A new token, and where its file goes.

        Raises:
            ShelfFull: there is no room.
            OSError: the folder cannot be made.
        """
        self.clean()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sizes = [path.stat().st_size for path in self._files()]
        if len(sizes) >= self.limits.files or sum(sizes) >= self.limits.bytes:
            raise ShelfFull(
                f"{len(sizes)} exports of {sum(sizes):,} bytes wait to be fetched, as many as are kept: "
                f"they expire after {self.limits.age_s:g} s; or use `alphapulse audit export`"
            )
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        return token, self._path(token)

    def find(self, token: str) -> Path:
        """Raises NotThere, Gone."""
        self.clean()
        path = self._path(token)
        if path.is_file():
            return path
        if path.name in self._gone:
            raise Gone("this link has expired: ask for the export again")
        raise NotThere("there is no such export")

    def expires_at(self, path: Path) -> int:
        """In ns since 1970 UTC."""
        return int((path.stat().st_mtime + self.limits.age_s) * 1e9)

    def clean(self) -> None:
        """Remove what has expired, and what was left behind half made."""
        oldest = self._now_s() - self.limits.age_s
        for path in self._all():
            with suppress(FileNotFoundError):  # another thread was here first
                if path.stat().st_mtime < oldest:
                    if path.name.endswith(_SUFFIX):
                        self._remember(path.name)
                    _remove(path)

    async def run(self) -> None:
        """Clean now and again."""
        while True:
            try:
                await asyncio.to_thread(self.clean)
            except OSError:
                log.warning("cannot clean %s", self.folder, exc_info=True)
            await asyncio.sleep(_CLEAN_S)

    def discard(self, path: Path) -> None:
        """Forget what was half made for ``path``."""
        _remove(path.with_name(f"{path.name}.partial"))

    def _remember(self, name: str) -> None:
        self._gone[name] = None
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _path(self, token: str) -> Path:
        return self.folder / f"{sha256(token.encode()).hexdigest()}{_SUFFIX}"

    def _all(self) -> Iterator[Path]:
        return self.folder.iterdir() if self.folder.is_dir() else iter(())

    def _files(self) -> Iterator[Path]:
        return (path for path in self._all() if path.name.endswith(_SUFFIX))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
