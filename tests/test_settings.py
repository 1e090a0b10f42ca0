"""Settings: read from variables, checked all at once, and never shown with their secrets."""

import json
import os
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from alphapulse.settings import (
    ADDRESSES,
    Settings,
    SettingsError,
    default_data_dir,
    known_variables,
    load,
    redact_environment,
)

DATABASE = "postgresql://u@db.example/alphapulse"


def refused(**variables: str) -> str:
    with pytest.raises(SettingsError) as error:
        load({f"ALPHAPULSE_{name}": value for name, value in variables.items()}, running=False)
    return str(error.value)


def accepted(**variables: str) -> Settings:
    return load({f"ALPHAPULSE_{name}": value for name, value in variables.items()}, running=False)


def test_nothing_has_to_be_set() -> None:
    settings = load({}, running=False)
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8000, None)


def test_an_option_of_the_command_line_beats_the_variable_unless_it_is_absent() -> None:
    environ = {"ALPHAPULSE_PORT": "1111", "ALPHAPULSE_HOST": "::1"}
    settings = load(environ, running=False, port=2222, host=None)
    assert (settings.port, settings.host) == (2222, "::1")


def test_an_empty_variable_counts_as_unset() -> None:
    assert accepted(PORT="", DATABASE_URL="").port == 8000


def test_an_unknown_variable_is_named_with_the_nearest_known_one() -> None:
    assert "ALPHAPULSE_DATABSE_URL is not a setting; the nearest is ALPHAPULSE_DATABASE_URL" in refused(
        DATABSE_URL="x"
    )


def test_the_folder_of_sample_data_is_known(tmp_path: Path) -> None:
    assert accepted(DATA=str(tmp_path)).data == tmp_path


def test_every_wrong_setting_is_named_not_only_the_first() -> None:
    message = refused(PORT="70000", LOG_LEVEL="loud", DATABASE_URL="mysql://x/y", NOPE="1")
    assert [line.partition("=")[0].partition(" ")[0] for line in sorted(message.splitlines())] == [
        "ALPHAPULSE_DATABASE_URL",
        "ALPHAPULSE_LOG_LEVEL",
        "ALPHAPULSE_NOPE",
        "ALPHAPULSE_PORT",
    ]
    assert "'70000'" in message
    assert "'loud'" in message


@pytest.mark.parametrize("port", ["-1", "65536", "80.5", "http", "٣", "1e3"])
def test_a_port_is_a_number_up_to_65535(port: str) -> None:
    assert f"ALPHAPULSE_PORT={port!r}: is not a port" in refused(PORT=port)


@pytest.mark.parametrize("port", ["0", "1", "65535"])
def test_ports_at_the_limits_are_fine(port: str) -> None:
    assert accepted(PORT=port).port == int(port)


@pytest.mark.parametrize(
    "url",
    ["mysql://h/d", "h", "postgresql://h", "postgresql://h/", "postgresql://h:x/d", "postgresql://h/d\n"],
)
def test_a_database_url_that_cannot_be_right_is_refused(url: str) -> None:
    assert "ALPHAPULSE_DATABASE_URL" in refused(DATABASE_URL=url)


@pytest.mark.parametrize("url", ["http://h:4222", "nats://", "nats://a:4222,b:4222", "nats://h:port"])
def test_a_nats_url_that_cannot_be_right_is_refused(url: str) -> None:
    assert "ALPHAPULSE_NATS_URL" in refused(NATS_URL=url)


def test_several_nats_servers_may_be_named() -> None:
    assert accepted(NATS_URL="nats://a:4222, tls://b:4222").nats_url == "nats://a:4222, tls://b:4222"


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://u:hunter2@h/d", "hunter2"),
        ("postgresql://u:hunter%402@h/d", "hunter@2"),
        ("postgresql://u@h/d?password=hunter2", "hunter2"),
        ("postgresql://u@h/d?sslmode=require&password=hunter%402", "hunter@2"),
    ],
)
def test_the_password_of_a_url_is_never_shown(url: str, secret: str) -> None:
    settings = accepted(DATABASE_URL=url)
    shown = f"{settings!r} {settings} {settings.redact(f'cannot log in with {secret}')}"
    assert secret not in shown
    assert "hunter" not in shown


def test_secrets_are_found_by_value_wherever_they_stand() -> None:
    settings = accepted(
        NATS_TOKEN="t0ken", API_TOKEN="k3y", DATABASE_PASSWORD="p w", NATS_URL="nats://other@h"
    )
    text = settings.redact("t0ken, k3y, 'p w', p%20w, nats://other@h")
    assert text == "***, ***, '***', ***, nats://***@h"


def test_a_refusal_does_not_show_the_secret_either() -> None:
    message = refused(DATABASE_URL="mysql://u:hunter2@h/d", NATS_TOKEN="hunter3\n")
    assert "hunter" not in message
    assert "mysql://u:***@h/d" in message


def test_messages_made_before_settings_are_read_are_redacted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHAPULSE_NATS_PASSWORD", "hunter2")
    assert redact_environment("bad hunter2") == "bad ***"


def test_a_certificate_and_its_key_go_together(tmp_path: Path) -> None:
    file = tmp_path / "x.crt"
    file.touch()
    assert "ALPHAPULSE_DATABASE_CERT and ALPHAPULSE_DATABASE_KEY go together" in refused(
        DATABASE_CERT=str(file)
    )
    assert "ALPHAPULSE_NATS_CERT and ALPHAPULSE_NATS_KEY go together" in refused(NATS_KEY=str(file))
    assert "ALPHAPULSE_NATS_USER and ALPHAPULSE_NATS_PASSWORD go together" in refused(NATS_USER="u")


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    assert f"ALPHAPULSE_NATS_CA='{tmp_path}/none.crt': is not a file" in refused(
        NATS_CA=f"{tmp_path}/none.crt"
    )


def test_ways_to_log_in_at_nats_exclude_each_other() -> None:
    assert "exclude each other" in refused(NATS_USER="u", NATS_PASSWORD="p", NATS_TOKEN="t")


def test_tls_options_that_contradict_the_url_are_an_error() -> None:
    message = refused(DATABASE_URL=f"{DATABASE}?sslmode=disable", DATABASE_SSLMODE="verify-full")
    assert (
        "ALPHAPULSE_DATABASE_SSLMODE=verify-full but ALPHAPULSE_DATABASE_URL says sslmode=disable" in message
    )


def test_an_authority_that_nobody_would_look_at_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.touch()
    assert "only looked at with" in refused(DATABASE_CA=str(file), DATABASE_URL=DATABASE)


def test_password_and_tls_options_end_in_the_address(tmp_path: Path) -> None:
    ca = tmp_path / "my ca.crt"
    ca.touch()
    settings = accepted(
        DATABASE_URL=DATABASE, DATABASE_PASSWORD="p&w", DATABASE_SSLMODE="verify-full", DATABASE_CA=str(ca)
    )
    query = settings.database().partition("?")[2]
    assert "+" not in query  # libpq takes it for a plus
    assert parse_qs(query) == {"sslmode": ["verify-full"], "sslrootcert": [str(ca)], "password": ["p&w"]}


def test_the_address_of_sqlalchemy_is_taken_as_libpqs() -> None:
    assert accepted(DATABASE_URL="postgresql+psycopg://u@h/d").database() == "postgresql://u@h/d"


def test_asking_for_a_database_that_is_not_set_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"ALPHAPULSE_DATABASE_URL is not set.*alphapulse up"):
        load({}, running=False).database()


@pytest.mark.parametrize("value", ["1", "y", "true"])
def test_the_librarys_functions_that_lose_events_are_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="POSTGRES_ENABLE_DB_FUNCTIONS must not be set"):
        load({"POSTGRES_ENABLE_DB_FUNCTIONS": value})


def test_a_child_reads_the_same_settings_from_the_variables(tmp_path: Path) -> None:
    settings = accepted(PORT="9", DATA_DIR=str(tmp_path), DATABASE_URL=DATABASE, NATS_TOKEN="t", HOST="::")
    assert load(settings.variables(), running=False) == settings


def test_addresses_of_a_running_stack_are_used_where_none_are_set(tmp_path: Path) -> None:
    (tmp_path / ADDRESSES).write_text(
        json.dumps({"database_url": "postgresql://x/y", "nats_url": "nats://z:1"})
    )
    environ = {"ALPHAPULSE_DATA_DIR": str(tmp_path), "ALPHAPULSE_NATS_URL": "nats://mine:2"}
    settings = load(environ)
    assert (settings.database_url, settings.nats_url) == ("postgresql://x/y", "nats://mine:2")
    assert load(environ, running=False).database_url is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_damaged_addresses_are_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / ADDRESSES).write_text(content)
    assert load({"ALPHAPULSE_DATA_DIR": str(tmp_path)}).database_url is None


def test_a_user_keeps_data_at_home_and_root_where_others_can_enter() -> None:
    expected = Path("/var/lib/alphapulse") if os.geteuid() == 0 else Path("/x/alphapulse")
    assert default_data_dir({"XDG_DATA_HOME": "/x"}) == expected


def test_every_setting_is_in_the_guide() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "running.md").read_text()
    assert [name for name in known_variables() if f"`{name}`" not in guide] == []
