"""What the launchers of PostgreSQL and nats-server share: accounts, locks, spawning and stopping.

Every launched program is a direct child in a process group of its own (Ctrl-C reaches only us, who stop
things in order) and gets a signal from the kernel when we die, however we die.
"""

import errno
import fcntl
import os
import pwd
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from alphapulse.adapters.embedded import child

POLL_S = 0.02
PORT_CHOICES = 50
FALLBACK_ACCOUNTS = ("nobody",)


Steps = Sequence[tuple[signal.Signals, float]]  # signals to send in turn, each with its seconds of patience


class ServerError(Exception):
    """A bundled server cannot be started or did not come up; the message says why and what to do."""


class AlreadyRunning(ServerError):
    """Another process runs a server on this directory."""

    def __init__(self, what: str, directory: Path, pid: int | None) -> None:
        self.pid = pid
        holder = f"pid {pid}" if pid else "another process"
        super().__init__(f"{what} in {directory} is already running ({holder})")


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as when we are root."""

    name: str
    uid: int
    gid: int


def server_account(data: Path, wanted: str | None = None) -> Account | None:
    """Whom to become for a server whose files are in ``data``: None unless we are root.

    The owner of existing files comes first, so that a restart can read what the last start wrote.

    Raises:
        ServerError: ``wanted`` does not exist or is root, or there is no unprivileged user at all.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(_user_name(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in [wanted] if wanted else FALLBACK_ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid == 0:
                raise ServerError(
                    f"the servers' user {name!r} is root, and PostgreSQL refuses to run as root"
                )
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ServerError(f"there is no user {wanted or ' or '.join(FALLBACK_ACCOUNTS)!r} to run the servers as")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def closed_parent(path: Path, account: Account) -> Path | None:
    """The first directory on the way to ``path`` that ``account`` may not enter by its mode bits, if any."""
    here = path.absolute()
    for parent in [*reversed(here.parents), *reversed(here.resolve().parents)]:  # both sides of a link
        with suppress(FileNotFoundError):
            if not _may(parent.stat(), account, stat.S_IXOTH):
                return parent
    return None


def can_run(program: Path, account: Account) -> bool:
    """Whether ``account`` can come to ``program`` and execute it, by the mode bits."""
    return closed_parent(program, account) is None and _may(program.stat(), account, stat.S_IXOTH)


def _may(found: os.stat_result, account: Account, other_bit: int) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & (other_bit << 6))
    if found.st_gid == account.gid:
        return bool(found.st_mode & (other_bit << 3))
    return bool(found.st_mode & other_bit)


def require_reachable(path: Path, account: Account | None, what: str) -> None:
    """Raise ServerError, with what to do, unless ``account`` can come to ``path``."""
    if account is None or (closed := closed_parent(path, account)) is None:
        return
    mode = stat.filemode(closed.stat().st_mode)
    raise ServerError(
        f"{what} {path} cannot be reached by the user {account.name!r}, as whom the servers run because we "
        f"are root: {closed} is {mode}, owned by {_user_name(closed.stat().st_uid)}. Give --data-dir (or "
        f"ALPHAPULSE_DATA_DIR) a place such as /var/lib/alphapulse, run as an ordinary user, or open it "
        f"yourself: chmod o+x {closed}"
    )


def make_directory(path: Path, *, mode: int = 0o755, account: Account | None = None) -> Path:
    """Create ``path`` and its missing parents (these always 0755); leave existing ones as they are."""
    missing = [folder for folder in [path, *path.parents] if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode if folder == path else 0o755)  # mkdir's own mode is cut by the umask
    if account and path in missing:
        os.chown(path, account.uid, account.gid)
    return path


class FileLock:
    """An flock on a file that holds the owner's pid; the kernel lets go of it when the last holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock and write our pid into it; False when another process holds it."""
        if self._file is not None:
            return True
        file = self.path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        return True

    def peek(self) -> bool:
        """Whether the lock could be had, without writing to the file."""
        with self.path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return False
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def fileno(self) -> int:
        assert self._file is not None, "the lock is not held"
        return self._file.fileno()

    def holder(self) -> int | None:
        """The pid that the file names, whether or not it lives."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text().split()[0])
        return None


def spawn(
    argv: Sequence[str],
    *,
    on_parent_death: signal.Signals,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    output: int | IO[bytes] | None = None,
    errors: int | None = subprocess.STDOUT,
    directory: Path | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program that gets ``on_parent_death`` when the calling *thread* ends: use one that lasts.

    ``output`` takes stdout, and stderr too unless ``errors`` says where that goes (None: where ours does).
    ``keep_open`` are file descriptors that it inherits, such as a lock.
    """
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    words = [str(os.getpid()), str(int(on_parent_death)), str(uid), str(gid), *argv]
    return subprocess.Popen(  # noqa: S603  our own programs and arguments, no shell
        [sys.executable, "-I", "-S", child.__file__, *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors if output is not None else None,
        env=environment,
        cwd=directory,
        pass_fds=list(keep_open),
        process_group=0,
    )


def server_environment() -> dict[str, str]:
    """What a server sees of our environment: nothing that could change its behaviour or hold a secret."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


def stop(process: subprocess.Popen[bytes], steps: Steps) -> signal.Signals | None:
    """Send each signal in turn and give the process its seconds.

    Returns the signal that did it, None if the process had ended before.
    """
    if process.poll() is not None:
        return None
    for number, patience_s in steps:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return number
    process.kill()
    process.wait()
    return signal.SIGKILL


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], timeout_s: float, what: str
) -> None:
    """Poll ``ready`` until it holds.

    Raises:
        ServerError: the process ended, or ``timeout_s`` have passed.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if (code := process.poll()) is not None:
            raise ServerError(f"{what} ended with {describe_exit(code)} while it started")
        if time.monotonic() > deadline:
            raise ServerError(f"{what} (pid {process.pid}) was not ready after {timeout_s:.0f} s")
        time.sleep(POLL_S)


def describe_exit(code: int) -> str:
    """An exit status in words: ``exit code 1`` or ``signal SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def running(is_ours: Callable[[list[bytes]], bool]) -> set[int]:
    """Pids of the processes whose command line is ours (by Linux's /proc; elsewhere none are found).

    By the command line because the working directory of another user's process is closed even to root in a
    container without CAP_SYS_PTRACE. A zombie has no command line.
    """
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if is_ours((entry / "cmdline").read_bytes().split(b"\0")):
                found.add(int(entry.name))
    return found


def end_all(find: Callable[[], set[int]], steps: Steps) -> None:
    """Signal what ``find`` finds, step by step, until it finds nothing or the steps are over."""
    for number, patience_s in steps:
        for pid in find():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while find():
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        else:
            return


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log, to be shown in an error."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return ""


def is_free(host: str, port: int) -> bool:
    """Whether we could listen there.

    Raises:
        ServerError: ``host`` is no address of this machine.
    """
    try:
        _bind(host, port).close()
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            return False
        raise ServerError(f"cannot listen on {host}: {error}") from None
    return True


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment, and that stays free while its server restarts.

    Not one that the system would choose: those it also gives to outgoing connections, and one of them (even a
    client's own, trying in vain to reach the server that is down) may hold the port when the server returns.
    """
    for _ in range(PORT_CHOICES):
        port = secrets.choice(range(10_000, 32_000))
        if is_free(host, port):
            return port
    with _bind(host, 0) as listener:
        return int(listener.getsockname()[1])


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener
