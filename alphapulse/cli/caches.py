"""A place for compiled kernels: numba refuses to import our code where it can keep none."""

import os
import stat
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

import alphapulse


def provide_numba_cache(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set NUMBA_CACHE_DIR to a private temporary directory if nothing better can be written.

    Better are the one that is set, the package itself (a checkout), the user's cache. A service user often
    has none: the package is root's and there is no home.
    """
    if environ.get("NUMBA_CACHE_DIR"):
        return
    cache = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  may have no home
    if not any(map(_is_writable, (Path(alphapulse.__file__).parent, Path(cache)))):
        environ["NUMBA_CACHE_DIR"] = str(_private_directory(Path(tempfile.gettempdir())))


def _is_writable(path: Path) -> bool:
    """Whether we can write there, or make it."""
    for folder in (path, *path.parents):
        try:
            folder.stat()
        except FileNotFoundError:
            continue
        except OSError:
            return False
        return os.access(folder, os.W_OK | os.X_OK)
    return False


def _private_directory(parent: Path) -> Path:
    """A directory of ours alone under ``parent``, the same each time: what is read from it is run as code."""
    path = parent / f"alphapulse-numba-{os.geteuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="alphapulse-numba-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="alphapulse-numba-"))
