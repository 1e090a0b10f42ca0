"""What a whole running stack recorded, derived again by the command: alike, until somebody changes it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision.strategy_decider import DefineStrategy, decide
from alphapulse.domain.decision.strategy_text import to_content
from alphapulse.domain.versions import Versions
from tests.cli.test_up import ask, stop, up
from tests.journeys.test_signals import COMMAND
from tests.launch import command_line, eventually
from tests.market_data import data_file

EVENTS = ("decisions", "calibrations", "outcomes")
EXPERIMENT = ("--bursts-per-day", 24, "--edge", 0.97, "--market-rate", 0.5, "--volatility", 5e-5)


def strategy_file(folder: Path, command: DefineStrategy) -> Path:
    (defined,) = decide(command, Versions())
    path = folder / "strategy.json"
    path.write_bytes(msgspec.json.encode(to_content(defined)))  # type: ignore[arg-type]
    return path


def told(here: dict[str, str], *words: object, code: int = 0) -> Any:
    """What a command says; days of real trades may take it minutes."""
    with command_line(*words, "--json", as_user=False, **here) as process:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == code, said
    return json.loads(said.splitlines()[-1])


def compare_a_live_run(folder: Path, feeds: Sequence[Sequence[object]]) -> dict[str, Any]:
    """Everything up; feeds come in while it decides; then parity before and after a decision is changed."""
    data = folder / "data"
    with up(data) as (process, facts):
        here = {"ALPHAPULSE_DATA_DIR": str(data)}
        told(here, "strategies", "define", "--file", strategy_file(folder, COMMAND))
        for feed in feeds:
            told(here, *feed)
        eventually(lambda: has_decided_all(facts), 600)
        found = told(here, "parity", "first", "--days", 7)
        assert found["identical"] is True, found["differences"]
        check_a_changed_decision(facts["database_url"], here)
        stop(process)
    return dict(found["counts"])


def has_decided_all(facts: dict[str, Any]) -> bool:
    log = ask(facts, "{ log { position deciders { strategy position } } }")["log"]
    return any(each["position"] >= log["position"] for each in log["deciders"])


def check_a_changed_decision(url: str, here: dict[str, str]) -> None:
    """One number of a recorded decision, changed in PostgreSQL by its owner, is found and named."""
    name = "decision.made.v1"
    with psycopg.connect(url, autocommit=True) as db:
        query = (
            "SELECT notification_id, originator_id, originator_version, state FROM stored_events "
            "WHERE topic = %s ORDER BY notification_id DESC LIMIT 1"
        )
        row = db.execute(query, (name,)).fetchone()
        assert row is not None
        position, stream, version, state = row
        made = codec.read(name, bytes(state))
        changed = msgspec.structs.replace(made, consensus=made.consensus / 2)
        db.execute(sql.SQL("ALTER TABLE stored_events DISABLE TRIGGER log_only_grows"))
        update = "UPDATE stored_events SET state = %s WHERE notification_id = %s"
        db.execute(update, (codec.encode(changed).state, position))
    found = told(here, "parity", "first", code=1)
    (named,) = found["differences"]
    assert (named["stream"], named["version"], named["position"]) == (stream, version, position)
    (field,) = named["fields"]
    assert (field["name"], field["recorded"], field["derived"]) == (
        "consensus",
        repr(changed.consensus),
        repr(made.consensus),
    )


def test_a_running_stack_on_a_generated_market_is_derived_again_alike(open_directory: Path) -> None:
    generate = ("generate", "sim:EDGE", "--trades", 50_000, "--seed", 1, *EXPERIMENT)
    counts = compare_a_live_run(open_directory, [generate])
    for kind in EVENTS:
        assert counts[kind]["compared"] == counts[kind]["identical"] > 0, kind


@pytest.mark.long
def test_a_running_stack_on_real_days_of_bitflyer_is_derived_again_alike(open_directory: Path) -> None:
    files = [
        data_file(f"trades/bitflyer/bitflyer.execution.201801{day}.BTC_JPY.csv.gz") for day in range(21, 29)
    ]
    counts = compare_a_live_run(open_directory, [("import", "trades", file) for file in files])
    assert counts["decisions"]["identical"] > 100
    assert counts["outcomes"]["identical"] > 100
