"""Target: settings, as an environment holds them. Only SettingsError may come out.

What is taken gives the same settings when it is handed on as variables, and shows no secret.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alphapulse.settings import Settings, SettingsError, known_variables, load
from tests.fuzz.target import Target, place_of


def check_settings(data: bytes) -> str:
    """Lines ``NAME=value`` as an environment holds them: bytes that are no UTF-8 as lone surrogates."""
    lines = data.replace(b"\0", b"").split(b"\n")
    pairs = [line.decode("utf-8", "surrogateescape").partition("=") for line in lines]
    environment = {name: value for name, _, value in pairs if name}
    try:
        found = load(environment, running=False)
    except SettingsError as error:
        return f"{place_of(error)} {len(str(error).splitlines())}"
    again = load(found.variables(), running=False)
    assert replace(again, data_dir=found.data_dir) == found
    shown = repr(found)
    for secret in found.secrets():
        assert len(secret) < 4 or secret not in shown, secret
    _addresses(found)
    return f"taken {len(found.variables())}"


def _addresses(found: Settings) -> None:
    try:
        found.database()
    except SettingsError:
        assert found.database_url is None


def _settings() -> Sequence[bytes]:
    whole = {
        "ALPHAPULSE_DATABASE_URL": "postgresql://user:secret%20word@host:5432/db?sslmode=require",
        "ALPHAPULSE_NATS_URL": "nats://token@a:4222,tls://b",
        "ALPHAPULSE_LOG_LEVEL": "Info",
    }
    each = [f"{name}={value}" for name, value in whole.items()]
    guesses = ("1", "true", "info", "a,b", "http://x.example", "127.0.0.1", "/etc/hostname")
    return [
        "\n".join(each).encode(),
        *("\n".join(f"{name}={value}" for name in known_variables()).encode() for value in guesses),
        b"POSTGRES_ENABLE_DB_FUNCTIONS=yes\nXDG_DATA_HOME=/tmp",
    ]


SETTINGS = Target(
    name="settings",
    check=check_settings,
    seeds=_settings,
    words=(
        *(name.encode() + b"=" for name in known_variables()),
        *(
            b"postgresql://",
            b"://[",
            b"]:",
            b"nats://",
            b"?password=",
            b"&sslmode=",
            b"%00",
            b"%ff",
            b"\xff",
            b"@",
        ),
        *(b"~nobody/", b"~", b"system", b"ALPHAPULSE_", str(Path(__file__)).encode()),
    ),
)
