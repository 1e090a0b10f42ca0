"""TLS to a PostgreSQL that can do it. The bundled build cannot: this needs one installed on the machine."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from alphapulse.adapters.embedded.postgres import SUPERUSER, PostgresServer
from alphapulse.adapters.embedded.process import ServerError, free_port, server_account
from alphapulse.processes.doctor import examine_database
from alphapulse.settings import load
from tests.certificates import Authority, authority
from tests.launch import IS_ROOT, finished
from tests.servers import open_directory as short_lived_directory


def installations() -> dict[Path, int]:
    """The PostgreSQLs of this machine with their versions, the newest first."""
    programs = [
        *Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        *map(Path, filter(None, [shutil.which("postgres")])),
    ]
    found = {}
    for program in programs:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"\d+", said)
        if version and program.resolve().with_name("initdb").exists():
            found[program.resolve().parent.parent] = int(version[0])
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Secured:
    port: int
    ca: Authority

    def settings(self, **variables: str | Path) -> dict[str, str]:
        url = f"postgresql://{SUPERUSER}@localhost:{self.port}/postgres"
        given = {"DATABASE_URL": url, "DATABASE_PASSWORD": "secret", **variables}
        return {f"ALPHAPULSE_{name}": str(value) for name, value in given.items()}

    def url(self, **variables: str | Path) -> str:
        return load(self.settings(**variables), running=False).database()


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """A PostgreSQL that takes TCP connections over TLS only; skips where none can be had."""
    reasons = ["no PostgreSQL but the bundled one"]
    for install, major in installations().items():
        with short_lived_directory() as directory:
            ca = authority(directory)
            server = serving_tls(install, major, directory, ca)
            try:
                server.start(30)
            except (ServerError, OSError) as error:
                reasons.append(f"{install}: {error}")
                continue
            try:
                yield Secured(server.port, ca)
            finally:
                server.stop()
            return
    pytest.skip("; ".join(reasons)[:400])


def serving_tls(install: Path, major: int, directory: Path, ca: Authority) -> PostgresServer:
    certificate, key = ca.issue("localhost", alternatives="DNS:localhost")
    hba = directory / "pg_hba.conf"
    hba.write_text("local all all trust\nhostssl all all all scram-sha-256\n")
    hba.chmod(0o644)
    if IS_ROOT:  # a key must belong to the server's user and be closed to others
        account = server_account(directory / "pg" / "data")
        assert account
        os.chown(key, account.uid, account.gid)
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(certificate),
        "ssl_key_file": str(key),
        "ssl_ca_file": str(ca.certificate),
        "hba_file": str(hba),
    }
    return PostgresServer(
        directory / "pg",
        binaries=install,
        major=major,
        settings=settings,
        tcp_port=free_port("127.0.0.1"),
        password="secret",
        durable=False,
    )


def test_a_verified_connection_is_encrypted(secured: Secured) -> None:
    url = secured.url(DATABASE_SSLMODE="verify-full", DATABASE_CA=secured.ca.certificate)
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True,)


def test_a_certificate_of_another_authority_is_refused(secured: Secured, tmp_path: Path) -> None:
    stranger = authority(tmp_path)
    url = secured.url(DATABASE_SSLMODE="verify-full", DATABASE_CA=stranger.certificate)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(url)


def test_a_certificate_for_another_name_is_refused(secured: Secured) -> None:
    url = secured.url(DATABASE_SSLMODE="verify-full", DATABASE_CA=secured.ca.certificate)
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(url.replace("@localhost:", "@127.0.0.1:"))


def test_a_connection_in_the_clear_is_refused(secured: Secured) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(secured.url(DATABASE_SSLMODE="disable"))


def test_the_schema_is_migrated_and_the_doctor_sees_tls(secured: Secured) -> None:
    variables = secured.settings(DATABASE_SSLMODE="verify-full", DATABASE_CA=secured.ca.certificate)
    done = finished("migrate", "--json", **variables)
    assert done.returncode == 0, done.stderr
    found = {
        finding.check: finding for finding in examine_database(load(variables, running=False).database())
    }
    assert found["database TLS"].found.startswith("TLSv1.")
    assert found["migrations"].verdict == "ok"
