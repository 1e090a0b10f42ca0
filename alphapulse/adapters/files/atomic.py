"""Files that appear whole or not at all, and what they hold as a hash."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class AtomicFile:
    """A path that gets its content at once, or never: ``temporary`` is written first, then renamed.

    The temporary file lies in the same folder, is removed on failure, and is on disk before it is renamed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        self.temporary = Path(name)

    def __enter__(self) -> Self:
        return self

    def commit(self) -> None:
        with self.temporary.open("rb") as file:
            os.fsync(file.fileno())
        self.temporary.chmod(0o644)
        self.temporary.replace(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_beside(path: Path) -> Path:
    """A new folder beside ``path``, on the same disk. The caller removes it."""
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".parts", dir=path.parent))


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
