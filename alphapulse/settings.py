"""Settings, read once from the environment, checked, immutable.

Field ``database_url`` is the variable ``ALPHAPULSE_DATABASE_URL``, and so on. Options of the command line
come on top. Whatever is printed goes through ``redact``, which looks for the secret values, wherever
they stand.
"""

import dataclasses
import difflib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

PREFIX = "ALPHAPULSE_"
ADDRESSES = "addresses.json"  # in the data directory while `alphapulse up` runs on it
LOG_LEVELS = ("debug", "info", "warning", "error")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM_CA = "system"  # libpq's word for the operating system's trusted authorities


class SettingsError(ValueError):
    """Some settings are wrong; each line of the message names one, its value, and what it wants."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one setting is read, what it means, and whether its value must never be shown."""

    read: Callable[[str], object]
    help: str
    secret: bool = False


def _text(value: str) -> str:
    if any(ord(letter) < 32 for letter in value):
        raise ValueError("holds a control character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return value


def _path(value: str) -> Path:
    try:
        return Path(_text(value)).expanduser().absolute()
    except RuntimeError as error:  # ~ of somebody who has no home
        raise ValueError(str(error)) from None


def _file(value: str) -> Path:
    path = _path(value)
    try:
        is_file = path.is_file()
    except OSError as error:  # a name that no file can have
        raise ValueError(f"is not a file: {error.strerror}") from None
    if not is_file:
        raise ValueError("is not a file")
    if not os.access(path, os.R_OK):
        raise ValueError("cannot be read by this user")
    return path


def _authorities(value: str) -> Path | str:
    return value if value == SYSTEM_CA else _file(value)


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise ValueError("is not a port: a number from 0 (any free one) to 65535")
    return int(value)


def _amount(value: str) -> float:
    try:
        amount = float(value)
    except ValueError:
        raise ValueError("is not a number") from None
    if not 0 <= amount < 1e12:
        raise ValueError("is not a number from 0 up")
    return amount


def _interval(value: str) -> float:
    seconds = _amount(value)
    if not 1 <= seconds <= 86_400:
        raise ValueError("is not a number of seconds from 1 to 86400")
    return seconds


def _origins(value: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in _text(value).split(",") if part.strip())
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
            raise ValueError(f"{origin} is not an origin such as https://charts.example")
    return origins


def _origin(value: str) -> str:
    if not re.fullmatch(r"[^\s+]{1,255}", value) or not value.isprintable():
        raise ValueError("is no name of a log: 1 to 255 characters, no spaces and no plus signs")
    return value


def _anchors(value: str) -> str:
    from alphapulse.domain.provenance.anchor_names import parse_anchors

    parse_anchors(_text(value))
    return value


def _one_of(words: Sequence[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return value.lower()

    return read


def _database_url(value: str) -> str:
    parts = urlsplit(_text(value))
    if parts.scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ValueError("does not begin with postgresql://")
    if not parts.path.strip("/"):
        raise ValueError("names no database: postgresql://user@host:5432/database")
    parts.port  # noqa: B018  raises ValueError with the port
    return value.replace("postgresql+psycopg://", "postgresql://", 1)


def _nats_url(value: str) -> str:
    for server in _text(value).split(","):
        parts = urlsplit(server.strip())
        if parts.scheme not in {"nats", "tls", "ws", "wss"} or not parts.hostname:
            raise ValueError("is not nats://host:4222 (or several, with commas between)")
        parts.port  # noqa: B018  raises ValueError with the port
    return value


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """``/var/lib/alphapulse`` for root, whose home is closed to others, else the user's data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/alphapulse")
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "alphapulse"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """All that can be set. Make one with ``load``."""

    data_dir: Annotated[Path, _Rule(_path, "where the bundled servers keep their data, and logs go")]
    data: Annotated[Path | None, _Rule(_path, "a folder of sample trade files, for demo and tests")] = None
    host: Annotated[str, _Rule(_text, "address that the API listens on")] = "127.0.0.1"
    port: Annotated[int, _Rule(_port, "port that the API listens on; 0: any free one")] = 8000
    api_token: Annotated[str | None, _Rule(_text, "what API clients must show", secret=True)] = None
    api_origins: Annotated[
        tuple[str, ...], _Rule(_origins, "sites whose pages may open WebSockets, by commas")
    ] = ()
    api_rate: Annotated[float, _Rule(_amount, "cost a client may ask per second; 0: no limit")] = 50_000.0
    api_max_lag_s: Annotated[
        float, _Rule(_amount, "lag of a read model in seconds up to which we are ready")
    ] = 10.0
    quality_interval_s: Annotated[
        float, _Rule(_interval, "seconds between two looks at the quality of features")
    ] = 300.0
    quality_thresholds: Annotated[
        str, _Rule(_text, "what is still good, such as psi=0.3,stale_bars=20; see docs/features.md")
    ] = ""
    log_level: Annotated[str, _Rule(_one_of(LOG_LEVELS), " ".join(LOG_LEVELS))] = "info"
    servers_user: Annotated[str | None, _Rule(_text, "whom the bundled servers become under root")] = None

    seal_key: Annotated[
        Path | None,
        _Rule(_path, "file of the private key that signs checkpoints; unset: seal.key in data_dir"),
    ] = None
    origin: Annotated[
        str | None,
        _Rule(_origin, "name of the log in its checkpoints; unset: the key's own, or a random one"),
    ] = None
    anchors: Annotated[
        str, _Rule(_anchors, "who else is to see checkpoints, by commas; see docs/anchors.md")
    ] = ""
    anchor_interval_s: Annotated[
        float, _Rule(_interval, "seconds between two checkpoints that an anchor is shown")
    ] = 300.0

    database_url: Annotated[str | None, _Rule(_database_url, "PostgreSQL; unset: we start one")] = None
    database_password: Annotated[str | None, _Rule(_text, "if the URL holds none", secret=True)] = None
    database_sslmode: Annotated[str | None, _Rule(_one_of(SSL_MODES), " ".join(SSL_MODES))] = None
    database_ca: Annotated[Path | str | None, _Rule(_authorities, "file of authorities, or 'system'")] = None
    database_cert: Annotated[Path | None, _Rule(_file, "our certificate for PostgreSQL")] = None
    database_key: Annotated[Path | None, _Rule(_file, "the key of that certificate")] = None

    nats_url: Annotated[str | None, _Rule(_nats_url, "NATS, several by commas; unset: we start one")] = None
    nats_port: Annotated[int | None, _Rule(_port, "port of our nats-server; unset: any, then kept")] = None
    nats_user: Annotated[str | None, _Rule(_text, "user at NATS")] = None
    nats_password: Annotated[str | None, _Rule(_text, "password at NATS", secret=True)] = None
    nats_token: Annotated[str | None, _Rule(_text, "token at NATS, instead of a user", secret=True)] = None
    nats_credentials: Annotated[Path | None, _Rule(_file, "a .creds file, instead of these")] = None
    nats_ca: Annotated[Path | None, _Rule(_file, "file of authorities that sign NATS's certificate")] = None
    nats_cert: Annotated[Path | None, _Rule(_file, "our certificate for NATS")] = None
    nats_key: Annotated[Path | None, _Rule(_file, "the key of that certificate")] = None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._given().items())
        return self.redact(f"Settings({shown})")

    def redact(self, text: str) -> str:
        """``text`` with every secret of these settings replaced by ``***``, wherever it stands."""
        return redact(text, self.secrets())

    def secrets(self) -> Sequence[str]:
        """Every secret value in these settings, as written and decoded, longest first."""
        return _secrets(self.variables())

    def variables(self) -> dict[str, str]:
        """These settings as environment variables, for a child process; the defaults left out."""
        return {PREFIX + name.upper(): _written(value) for name, value in self._given().items()}

    def _given(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value != defaults[name]}

    def database(self) -> str:
        """The address of PostgreSQL with password and TLS options in it, as psycopg takes it.

        Raises:
            SettingsError: it is not set.
        """
        if self.database_url is None:
            raise SettingsError("ALPHAPULSE_DATABASE_URL is not set: set it, or use `alphapulse up`")
        options = {
            "sslmode": self.database_sslmode,
            "sslrootcert": self.database_ca,
            "sslcert": self.database_cert,
            "sslkey": self.database_key,
            "password": self.database_password,
        }
        present = parse_qs(urlsplit(self.database_url).query)
        extra = {
            name: str(value) for name, value in options.items() if value is not None and name not in present
        }
        if not extra:
            return self.database_url
        joint = "&" if "?" in self.database_url else "?"
        return f"{self.database_url}{joint}{urlencode(extra, quote_via=quote)}"


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _rules() -> dict[str, _Rule]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def known_variables() -> dict[str, str]:
    """Every variable with its meaning."""
    return {PREFIX + name.upper(): rule.help for name, rule in _rules().items()}


def load(environ: Mapping[str, str] | None = None, /, *, running: bool = True, **options: object) -> Settings:
    """Settings from ``environ`` (by default the process's), with the ``options`` that are not None on top.

    An empty variable counts as unset. With ``running``, an `alphapulse up` on the same data directory fills
    in the addresses of its servers where none are set.

    Raises:
        SettingsError: names every wrong setting, not only the first.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    given |= {PREFIX + name.upper(): str(value) for name, value in options.items() if value is not None}
    values: dict[str, Any] = {"data_dir": default_data_dir(environ)}
    problems = _unknown(given) + _forbidden(environ)
    secrets = _secrets(given)
    for name, rule in _rules().items():
        if (variable := PREFIX + name.upper()) in given:
            try:
                values[name] = rule.read(given[variable])
            except ValueError as error:
                shown = redact(given[variable], secrets)
                problems.append(f"{variable}={shown!r}: {redact(str(error), secrets)}")
    settings = Settings(**values)
    problems += _contradictions(settings)
    if problems:
        raise SettingsError("\n".join(problems))
    return with_running(settings) if running else settings


def with_running(settings: Settings) -> Settings:
    """``settings`` with the addresses that `alphapulse up` left in the data directory, where none are set."""
    try:
        found = json.loads((settings.data_dir / ADDRESSES).read_text())
    except (OSError, ValueError):
        return settings
    if not isinstance(found, dict):
        return settings
    return dataclasses.replace(
        settings,
        database_url=settings.database_url or found.get("database_url"),
        nats_url=settings.nats_url or found.get("nats_url"),
    )


def redact_environment(text: str) -> str:
    """``text`` without the secrets that our environment holds, for messages made before settings are read."""
    return redact(text, _secrets(os.environ))


def _unknown(given: Mapping[str, str]) -> list[str]:
    known = known_variables()
    return [
        f"{name} is not a setting; {_nearest(name, known)}" for name in sorted(given) if name not in known
    ]


def _nearest(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"the nearest is {close[0]} ({known[close[0]]})"


def _forbidden(environ: Mapping[str, str]) -> list[str]:
    if environ.get("POSTGRES_ENABLE_DB_FUNCTIONS", "").lower() in {"", "0", "n", "no", "f", "false", "off"}:
        return []
    return ["POSTGRES_ENABLE_DB_FUNCTIONS must not be set: it drops the lock that orders appends"]


def _contradictions(settings: Settings) -> list[str]:
    checks = [
        (_half(settings.database_cert, settings.database_key), "DATABASE_CERT and DATABASE_KEY"),
        (_half(settings.nats_cert, settings.nats_key), "NATS_CERT and NATS_KEY"),
        (_half(settings.nats_user, settings.nats_password), "NATS_USER and NATS_PASSWORD"),
    ]
    problems = [
        f"{PREFIX}{names.replace(' and ', f' and {PREFIX}')} go together" for wrong, names in checks if wrong
    ]
    ways = [settings.nats_user, settings.nats_token, settings.nats_credentials]
    if sum(way is not None for way in ways) > 1:
        problems.append("ALPHAPULSE_NATS_USER, _TOKEN and _CREDENTIALS exclude each other")
    return problems + _tls_contradictions(settings)


def _half(first: object, second: object) -> bool:
    return (first is None) != (second is None)


def _tls_contradictions(settings: Settings) -> list[str]:
    query = parse_qs(urlsplit(settings.database_url or "").query)
    wanted, in_url = settings.database_sslmode, query.get("sslmode", [None])[0]
    problems = []
    if wanted and in_url and wanted != in_url:
        problems.append(
            f"ALPHAPULSE_DATABASE_SSLMODE={wanted} but ALPHAPULSE_DATABASE_URL says sslmode={in_url}"
        )
    mode = wanted or in_url
    if settings.database_ca and mode not in {"verify-ca", "verify-full"}:
        problems.append(
            f"ALPHAPULSE_DATABASE_CA={settings.database_ca} is only looked at with "
            f"ALPHAPULSE_DATABASE_SSLMODE verify-full or verify-ca, and that is {mode or 'unset'}"
        )
    return problems


def redact(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _secrets(given: Mapping[str, str]) -> Sequence[str]:
    found: set[str] = set()
    for name, rule in _rules().items():
        value = given.get(PREFIX + name.upper(), "")
        if rule.secret:
            found |= {value, *(quote(value, safe, errors="surrogateescape") for safe in ("", "/"))}
        for secret in re.findall(r"://[^:@/?#\s]*:([^@/\s]*)@|[?&]password=([^&#\s]*)", value):
            found |= {secret[0], secret[1], unquote(secret[0]), unquote(secret[1])}
        if name == "nats_url":
            found |= set(re.findall(r"://([^:@/?#\s]+)@", value))  # a token
    return sorted(found - {""}, key=len, reverse=True)
