"""Examines an installation: each check says what it found and, where something is wrong, what to do.

No check changes anything, and none takes longer than ``CHECK_S``.
"""

import asyncio
import dataclasses
import json
import locale
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

import alphapulse
from alphapulse.adapters import database
from alphapulse.adapters.bus.connection import connected
from alphapulse.adapters.embedded import nats, postgres
from alphapulse.adapters.embedded.process import (
    FileLock,
    ServerError,
    closed_parent,
    is_free,
    server_account,
)
from alphapulse.domain.ports import BusUnavailable
from alphapulse.processes.wiring import nats_options
from alphapulse.settings import Settings, SettingsError, load, redact_environment

CHECK_S = 10.0
NEWEST_PYTHON = (3, 14)
MIN_POSTGRES, MIN_NATS = 15, (2, 11)  # security of grants in schema public; batched direct get
SPACE_FAIL, SPACE_WARN = 1 << 30, 10 << 30  # bytes
MIN_FILES = 1024
MAX_SKEW_S = 2.0

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` says what to do about anything but ok."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warn(check: str, found: str, advice: str) -> Finding:
    return Finding(check, "warn", found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    return Finding(check, "fail", found, advice)


async def examine(**options: Any) -> AsyncIterator[Finding]:
    """Every finding, as it is made. ``options`` are settings from the command line."""
    for check in (python, user, encoding, open_files):
        yield check()
    try:
        wanted = load(running=False, **options)
        settings = load(**options)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield fail("settings", line, "set, correct or unset it")
        return
    yield ok("settings", "are understood, and agree with each other")
    for finding in [*_binaries(wanted), data_directory(wanted), free_space(wanted), numba_cache()]:
        yield finding
    yield port(wanted)
    async for finding in _servers(settings):
        yield dataclasses.replace(finding, found=redact_environment(finding.found))


def failed(findings: Sequence[Finding]) -> bool:
    return any(finding.verdict == "fail" for finding in findings)


# -- this machine ---------------------------------------------------------------------------------


def python(version: tuple[int, int] = sys.version_info[:2], system: str = sys.platform) -> Finding:
    found = f"Python {version[0]}.{version[1]} on {system}, {platform.machine()}"
    if not (3, 11) <= version <= NEWEST_PYTHON:
        return fail("python", found, "use CPython 3.11 to 3.14")
    if system != "linux":
        return warn(
            "python", found, "only Linux is tested; elsewhere children may outlive a killed supervisor"
        )
    return ok("python", found)


def user() -> Finding:
    if os.geteuid() != 0:
        return ok("user", f"uid {os.geteuid()}")
    try:
        account = server_account(Path("/nonexistent"))
    except ServerError as error:
        return fail("user", str(error), "run as an ordinary user, or set ALPHAPULSE_SERVERS_USER")
    name = account.name if account else "root"
    return warn("user", f"root; the bundled servers become {name!r}", "prefer an ordinary user of its own")


def encoding(name: str | None = None) -> Finding:
    name = name or locale.getpreferredencoding(do_setlocale=False)
    if name.lower().replace("-", "") == "utf8":
        return ok("locale", f"text is {name}")
    return warn("locale", f"text is {name}", "set LANG=C.UTF-8, or PYTHONUTF8=1")


def open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= MIN_FILES:
        return ok("open files", f"limit {soft}")
    return warn("open files", f"limit {soft}", f"raise it to {MIN_FILES} or more: ulimit -n {MIN_FILES}")


def _binaries(settings: Settings) -> Iterator[Finding]:
    """The bundled programs run, unless a URL says that others are used."""
    if settings.database_url is None:
        yield _runs("PostgreSQL program", lambda: postgres.installed_binaries() / "bin" / "postgres")
    if settings.nats_url is None:
        yield _runs("nats-server program", nats.installed_binary)


def _runs(check: str, find: Callable[[], Path]) -> Finding:
    try:
        program = find()
        done = subprocess.run(  # noqa: S603  our own program
            [program, "--version"], capture_output=True, text=True, timeout=CHECK_S, check=True
        )
    except ServerError as error:
        return fail(check, str(error), "install AlphaPulse again")
    except (OSError, subprocess.SubprocessError) as error:
        return fail(
            check, f"does not run: {error}", "the wheel does not fit this machine; set the URL of another"
        )
    return ok(check, done.stdout.strip())


def data_directory(settings: Settings) -> Finding:
    """It can be made or written, locked, and reached by the user that the servers become."""
    path, check = settings.data_dir, "data directory"
    exists = _nearest_existing(path)
    if not os.access(exists, os.W_OK | os.X_OK):
        return fail(
            check, f"{path}: {exists} cannot be written", "give --data-dir, or set ALPHAPULSE_DATA_DIR"
        )
    account = server_account(path / "postgres" / "data", settings.servers_user)
    if account and (closed := closed_parent(path / "postgres", account)):
        return fail(
            check,
            f"{path}: {closed} is closed to {account.name!r}, as whom the servers run",
            "give --data-dir /var/lib/alphapulse, or run as an ordinary user",
        )
    if not _locks(exists):
        return fail(check, f"{path}: files there cannot be locked", "use a local file system")
    return ok(check, f"{path}" + ("" if exists == path else " (will be made)"))


def _nearest_existing(path: Path) -> Path:
    """``path`` or the first of its parents that exists, as far as this user can tell."""
    for folder in [path, *path.parents]:
        with suppress(OSError):
            if folder.exists():
                return folder
    return Path("/")


def _locks(folder: Path) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".alphapulse-") as file:
            first, second = FileLock(Path(file.name)), FileLock(Path(file.name))
            locked = first.acquire() and not second.acquire()
            first.release()
            return locked
    except OSError:
        return False


def free_space(settings: Settings) -> Finding:
    path = _nearest_existing(settings.data_dir)
    free = shutil.disk_usage(path).free
    found = f"{free / 2**30:.1f} GiB free at {path}"
    if free < SPACE_FAIL:
        return fail("disk", found, "PostgreSQL stops when the disk is full: make room for 10 GiB or more")
    if free < SPACE_WARN:
        return warn(
            "disk", found, "a log of a million trades takes about 10 MB, and JetStream keeps up to 2 GiB"
        )
    return ok("disk", found)


def numba_cache() -> Finding:
    """Compiled kernels can be kept: by the code, where NUMBA_CACHE_DIR says, or in the user's cache."""
    beside = Path(alphapulse.__file__).parent
    own = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(own)] if own else [beside, Path.home() / ".cache"]
    for place in places:
        exists = _nearest_existing(place)
        if os.access(exists, os.W_OK | os.X_OK):
            return ok("numba cache", str(place))
    return warn(
        "numba cache",
        f"{' and '.join(map(str, places))} cannot be written: each start compiles for some 10 s",
        "set NUMBA_CACHE_DIR to a directory that this user may write",
    )


def port(settings: Settings) -> Finding:
    """The API's port is free, or ours."""
    where = f"{settings.host}:{settings.port}"
    try:
        if settings.port == 0 or is_free(settings.host, settings.port):
            return ok("port", f"{where} is free" if settings.port else "any free one")
    except (ServerError, socket.gaierror) as error:
        return fail("port", str(error), "give --host an address of this machine")
    if pid := running_pid(settings):
        return ok("port", f"{where} is taken while `alphapulse up` runs here (pid {pid})")
    return fail("port", f"{where} is taken", "give --port another one; 0 takes any free one")


def running_pid(settings: Settings) -> int | None:
    """The pid of the `alphapulse up` that holds the data directory."""
    path = settings.data_dir / "lock"
    try:
        lock = FileLock(path) if path.exists() else None
        if lock and not lock.peek():
            return lock.holder()
    except OSError:
        pass
    return None


# -- the servers ----------------------------------------------------------------------------------


async def _servers(settings: Settings) -> AsyncIterator[Finding]:
    """What is set or running is examined; what `alphapulse up` will start is only mentioned."""
    if settings.database_url is None:
        yield ok("database", "`alphapulse up` will start one")
    else:
        for finding in await asyncio.to_thread(lambda: list(examine_database(settings.database()))):
            yield finding
    if settings.nats_url is None:
        yield ok("NATS", "`alphapulse up` will start one")
    else:
        async for finding in _nats(settings):
            yield finding


def examine_database(url: str) -> Iterator[Finding]:
    """Reachable, new enough, durable, encrypted where that matters, migrated, and with a clock like ours."""
    try:
        with psycopg.connect(database.libpq_url(url), connect_timeout=5, autocommit=True) as connection:
            yield from _examine_connection(connection)
    except psycopg.Error as error:
        advice = "is it running, and are user, password and database right? ALPHAPULSE_DATABASE_URL"
        yield fail("database", str(error).strip(), advice)
        return
    now, newest = database.revisions(url)
    if now == newest:
        yield ok("migrations", f"at {now}")
    else:
        yield fail(
            "migrations", f"at {now or 'nothing'}, this code needs {newest}", "run `alphapulse migrate`"
        )


def _examine_connection(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[Finding]:
    info = connection.info
    yield _postgres_version(info.server_version // 10000)
    shown = {name: _show(connection, name) for name in ("fsync", "full_page_writes", "server_encoding")}
    for name, value in {"fsync": "on", "full_page_writes": "on"}.items():
        if shown[name] != value:
            advice = f"set {name} = {value}: without it a power cut loses what was acknowledged"
            yield fail("durability", f"{name} is {shown[name]}", advice)
    if shown["server_encoding"] != "UTF8":
        yield fail(
            "database", f"its encoding is {shown['server_encoding']}", "create it with ENCODING 'UTF8'"
        )
    yield _encryption(connection)
    yield _clock(connection)


def _postgres_version(major: int) -> Finding:
    if major >= MIN_POSTGRES:
        return ok("database", f"PostgreSQL {major}")
    return fail("database", f"PostgreSQL {major}", f"PostgreSQL {MIN_POSTGRES} or newer is needed")


def _show(connection: psycopg.Connection[tuple[object, ...]], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    return str(row[0]) if row else ""


def _encryption(connection: psycopg.Connection[tuple[object, ...]]) -> Finding:
    row = connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    host = connection.info.host
    if row and row[0]:
        return ok("database TLS", str(row[1]))
    if host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}:
        return ok("database TLS", f"none, and none needed on this machine ({host})")
    advice = "set ALPHAPULSE_DATABASE_SSLMODE=verify-full and ALPHAPULSE_DATABASE_CA"
    return warn("database TLS", f"none to {host}: anybody between can read and change it", advice)


def _clock(connection: psycopg.Connection[tuple[object, ...]]) -> Finding:
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    skew_s = float(str(row[0])) - (before + time.time()) / 2 if row else 0.0
    if abs(skew_s) <= MAX_SKEW_S:
        return ok("clock", f"within {abs(skew_s):.3f} s of the database's")
    return warn("clock", f"{skew_s:+.1f} s from the database's", "synchronise both with NTP (chrony)")


async def _nats(settings: Settings) -> AsyncIterator[Finding]:
    advice = "is it running, and are the credentials right? See ALPHAPULSE_NATS_URL"
    try:
        async with asyncio.timeout(CHECK_S), connected(nats_options(settings)) as connection:
            version = connection.client.connected_server_version
            found = f"nats-server {version.major}.{version.minor}.{version.patch}"
            if (version.major, version.minor) < MIN_NATS:
                yield fail("NATS", found, f"{MIN_NATS[0]}.{MIN_NATS[1]} or newer is needed")
            else:
                yield ok("NATS", found)
            if connection.client.max_payload < nats.MAX_PAYLOAD:
                yield fail(
                    "NATS", f"max_payload is {connection.client.max_payload}", "set it to 1 MB or more"
                )
            answer = json.loads((await connection.ask("$JS.API.INFO", b"", timeout_s=5)).data)
            if "error" in answer:
                yield fail("JetStream", str(answer["error"].get("description")), "turn JetStream on")
            else:
                yield ok("JetStream", f"{answer['streams']} streams")
    except (BusUnavailable, TimeoutError, ValueError, OSError) as error:
        yield fail("NATS", str(error) or type(error).__name__, advice)
