"""``decide``, ``signals``, ``outcomes``, ``calibration`` and ``risk`` over a log in which was decided."""

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.cli.signals import UnknownSignal
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.decision.strategy_text import to_content
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalClosed, SignalIssued
from alphapulse.processes.decide import contexts_of, recorder
from alphapulse.processes.deciding import Limits
from alphapulse.processes.desks import run_decide
from alphapulse.projections.candle_view import NotYetFolded
from alphapulse.projections.signals import Signals
from tests import servers
from tests.decided_log import MARKETS, append_bars, fold, recorded
from tests.decision_events import closed, decision, issued, outcome, stream_of
from tests.domain.signals.engine_world import strategy
from tests.launch import command_line, finished

Run = Callable[..., Result]
DECIDING = ("decision.made.v1", "outcome.recorded.v1", "calibration.fitted.v1")
SIGNALS = ("signal.issued.v1", "signal.exit_recommended.v1", "signal.closed.v1")
TRADES = 60_000
EXPERIMENT = ("--bursts-per-day", 12, "--edge", 0.97, "--market-rate", 0.5, "--volatility", 5e-5)


def on(url: str) -> Run:
    """The command line on a database."""

    def run(*words: object) -> Result:
        runner = CliRunner(env={"ALPHAPULSE_DATABASE_URL": url})
        return runner.invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


@pytest.fixture
def alphapulse(database_url: str) -> Run:
    return on(database_url)


@pytest.fixture(scope="module")
def decided_url(migrated_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database whose strategy has decided on two markets, folded. Its tests leave it as it is."""
    with servers.fresh_database(migrated_postgres) as url:
        file = tmp_path_factory.mktemp("strategy") / "world.json"
        file.write_bytes(msgspec.json.encode(to_content(strategy())))
        facts(on(url)("strategies", "define", "--file", file, "--json"))
        asyncio.run(feed(url))
        facts(on(url)("decide", "--json"))
        asyncio.run(fold(url))
        yield url


async def feed(url: str) -> int:
    async with PostgresEventStore(url) as store:
        return await append_bars(store, MARKETS)


@pytest.fixture
def decided(decided_url: str) -> Run:
    return on(decided_url)


def facts(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def objects(result: Result) -> list[Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def events(url: str, *names: str) -> list[Any]:
    async def go() -> list[Any]:
        async with PostgresEventStore(url) as store:
            return await recorded(store, *names)

    return asyncio.run(go())


def head(url: str) -> int:
    async def go() -> int:
        async with PostgresEventStore(url) as store:
            return await store.head()

    return asyncio.run(go())


def of(url: str, kind: type[Any]) -> list[Any]:
    found = events(url, *DECIDING, *SIGNALS)
    return [each.event for each in found if isinstance(each.event, kind)]


def refused(result: Result) -> str:
    """What the command raised: ``main`` makes a line on stderr of it."""
    assert result.exit_code == 1, result.output
    return str(result.exception)


# -- decide -----------------------------------------------------------------------------------------


def test_decide_tells_what_is_recorded_and_records_it_once(decided: Run, decided_url: str) -> None:
    before = head(decided_url)
    again = facts(decided("decide", "world", "--json"))
    assert (again["strategy"], again["dry_run"], again["recorded"]) == ("world.1", False, 0)
    assert head(decided_url) == before
    made, closed = of(decided_url, DecisionMade), of(decided_url, OutcomeRecorded)
    assert (again["candidates"], again["resolved"]) == (len(made), len(closed))
    assert again["won"] == sum(each.outcome.is_win for each in closed)
    assert again["issued"] == len(of(decided_url, SignalIssued)) > 0
    assert sum(again["refused"].values()) >= again["candidates"] - again["issued"] > 0
    assert again["calibrations"] > 0
    assert (
        f"world.1: {len(made)} candidates, {again['issued']} signals; refused: " in decided("decide").stdout
    )


def test_a_dry_run_shows_what_passes_the_gate_and_records_nothing(decided: Run, decided_url: str) -> None:
    before = head(decided_url)
    dry = facts(decided("decide", "world", "--dry-run", "--json"))
    made = of(decided_url, DecisionMade)
    assert (dry["candidates"], dry["dry_run"], dry["recorded"]) == (len(made), True, 0)
    assert dry["issued"] >= len(of(decided_url, SignalIssued))  # the book has no say
    told = decided("decide", "world", "--dry-run", "--verbose").stdout
    assert f"{dry['issued']} proposals" in told
    assert all(f"{each.decision}: " in told for each in made)
    assert head(decided_url) == before


def test_a_dry_run_decides_on_what_was_before_the_definition_too(alphapulse: Run, database_url: str) -> None:
    asyncio.run(feed(database_url))
    asyncio.run(define(database_url, strategy()))
    dry = facts(alphapulse("decide", "--dry-run", "--json"))
    assert dry["candidates"] > 50
    assert facts(alphapulse("decide", "--json"))["candidates"] == 0
    assert of(database_url, DecisionMade) == []


def test_parts_of_a_strategy_are_told_together(alphapulse: Run, database_url: str) -> None:
    asyncio.run(define(database_url, strategy(parts=2)))
    asyncio.run(feed(database_url))
    dry, done = (facts(alphapulse("decide", *words, "--json")) for words in (("--dry-run",), ()))
    assert dry["candidates"] == done["candidates"] == len(of(database_url, DecisionMade)) > 50


async def define(url: str, defined: Any) -> None:
    async with PostgresEventStore(url) as store:
        await store.append([codec.new_event(stream_of(defined), 1, defined)])


def test_the_role_finds_what_decide_has_recorded_and_goes_on_behind_it(
    alphapulse: Run, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Anything that differed would be refused as Diverged, and logged."""
    asyncio.run(define(database_url, strategy()))
    half = len(MARKETS) * 4 // 5
    asyncio.run(feed_some(database_url, 0, half))
    first = facts(alphapulse("decide", "--json"))
    assert first["recorded"] > 0
    asyncio.run(feed_some(database_url, half, len(MARKETS)))
    asyncio.run(role_until_quiet(database_url))
    after = head(database_url)
    again = facts(alphapulse("decide", "--json"))
    assert (again["recorded"], head(database_url)) == (0, after)
    assert again["candidates"] > first["candidates"]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def feed_some(url: str, first: int, end: int) -> None:
    async with PostgresEventStore(url) as store:
        await append_bars(store, MARKETS[first:end])


async def role_until_quiet(url: str) -> None:
    """The role, until it has come to the end of the market's events."""
    stop = asyncio.Event()
    async with PostgresEventStore(url) as store:
        end = await store.head()
        limits = Limits(poll_s=0.05, keep_s=0.0, idle_keep_s=0.0)
        role = asyncio.create_task(run_decide(url, contexts_of, recorder, stop, limits))
        try:
            async with asyncio.timeout(60):
                while not await _reached(url, end):
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await role


async def _reached(url: str, position: int) -> bool:
    from alphapulse.processes.desks import connector
    from alphapulse.projections.decider_states import reached

    async with await connector(url)() as db:
        return any(each.position >= position for each in await reached(db))


def test_nobody_can_decide_by_a_strategy_that_is_not_in_use(alphapulse: Run, database_url: str) -> None:
    assert "no strategy is in use: define one first" in refused(alphapulse("decide"))
    asyncio.run(define(database_url, strategy()))
    unknown = alphapulse("decide", "wrld", "--dry-run")
    assert isinstance(unknown.exception, UnknownStrategy)
    assert "no strategy 'wrld' is in use" in str(unknown.exception)
    alphapulse("strategies", "retire", "world", "--version", 1)
    assert "no strategy 'world' is in use" in refused(alphapulse("decide", "world"))


def test_a_planted_edge_is_generated_decided_on_and_told_by_the_program_itself(database_url: str) -> None:
    """As a stranger would: nothing here is known to this process but what the program prints."""

    def run(*words: object) -> Any:
        done = finished(*words, "--json", ALPHAPULSE_DATABASE_URL=database_url)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    generated = run("generate", "sim:EDGE", "--trades", TRADES, *EXPERIMENT)
    assert (generated["trades"], generated["seed"]) == (TRADES, 1)
    defined = run("strategies", "define", "--default", "first", "--timeframe", "5m")
    dry = run("decide", "first", "--dry-run")
    assert dry["strategy"] == "first.1"
    assert dry["candidates"] > 10
    assert dry["resolved"] <= dry["candidates"]
    assert head(database_url) == defined["position"]


def test_an_edge_is_a_share_and_bursts_are_counted_from_nothing(alphapulse: Run, database_url: str) -> None:
    for words in (("--edge", 1.5), ("--edge", -0.1), ("--bursts-per-day", -1)):
        wrong = alphapulse("generate", "sim:X", "--trades", 10, *words)
        assert wrong.exit_code == 2
        assert words[0] in wrong.output
    assert head(database_url) == 0


# -- signals ----------------------------------------------------------------------------------------


def test_signals_are_listed_newest_first_as_many_as_are_asked_for(decided: Run, decided_url: str) -> None:
    signals = of(decided_url, SignalIssued)
    listed = objects(decided("signals", "list", "--last", 1_000, "--json"))
    assert [each["number"] for each in listed] == [each.number for each in reversed(signals)]
    assert len(objects(decided("signals", "list", "--last", 3, "--json"))) == 3
    newest = signals[-1]
    assert (listed[0]["entry"], listed[0]["confidence"]) == (newest.entry, newest.confidence)
    closes = {each.number: each for each in of(decided_url, SignalClosed)}
    assert closes
    for each in listed:
        close = closes.get(each["number"])
        assert (each["close_reason"], each["net_bps"]) == (
            (close.reason, close.net_bps) if close else (None, None)
        )
    mine = objects(decided("signals", "list", "--instrument", "test:M0", "--last", 1_000, "--json"))
    assert {each["instrument"] for each in mine} == {"test:M0"}
    still = objects(decided("signals", "list", "--open", "--last", 1_000, "--json"))
    assert {each["number"] for each in still} == {each.number for each in signals} - set(closes)
    table = decided("signals", "list", "--last", 2).stdout
    assert f"world {newest.number} (research)" in table
    assert "test:M" in table


def test_a_signal_is_shown_with_what_became_of_it_and_as_of_before(decided: Run, decided_url: str) -> None:
    close = of(decided_url, SignalClosed)[0]
    shown = facts(decided("signals", "show", "world", close.number, "--json"))
    assert (shown["decision"], shown["close_reason"]) == (close.decision, close.reason)
    assert shown["outcome"]["net_bps"] == close.net_bps
    text = decided("signals", "show", "world", close.number).stdout
    assert f"signal {close.number}" in text
    assert f"{close.reason} at" in text
    assert f"{close.net_bps:+.1f} bps" in text
    then = ("signals", "show", "world", close.number, "--as-of", shown["position"])
    early = facts(decided(*then, "--json"))
    assert (early["close_reason"], early["outcome"]) == (None, None)
    assert "open" in decided(*then).stdout


def test_a_signal_is_explained_by_its_decision(decided: Run, decided_url: str) -> None:
    first = of(decided_url, SignalIssued)[0]
    (made,) = [each for each in of(decided_url, DecisionMade) if each.decision == first.decision]
    explained = facts(decided("signals", "explain", "world", first.number, "--json"))
    assert msgspec.convert(explained, DecisionMade) == made
    text = decided("signals", "explain", "world", first.number).stdout
    assert f"consensus {made.consensus:+.3f}" in text
    assert f"confidence {made.claim.confidence:.4f}: calibration {made.claim.calibration}" in text
    for vote in made.votes:
        assert f"    {vote.voter}: " in text
        assert all(reason in text for reason in vote.reasons if vote.direction)
    assert f"needed to pay {made.gate.needed:.4f}" in text


def test_an_outcome_is_derived_again_from_the_market_and_is_as_recorded(
    decided: Run, decided_url: str
) -> None:
    close = of(decided_url, SignalClosed)[0]
    verified = facts(decided("signals", "verify", "world", close.number, "--json"))
    assert (verified["equal"], verified["differences"]) == (True, [])
    assert verified["derived"]["reason"] == close.reason
    assert f"give {close.reason}, as recorded" in decided("signals", "verify", "world", close.number).stdout


def test_signals_that_there_are_not_are_errors_with_their_numbers(decided: Run) -> None:
    for command in ("show", "explain", "verify"):
        unknown = decided("signals", command, "world", 9_999)
        assert isinstance(unknown.exception, UnknownSignal)
        assert str(unknown.exception) == "no signal 9999 of strategy 'world'"
        assert decided("signals", command, "world", 0).exit_code == 2
    assert decided("signals", "list", "--last", 1_001).exit_code == 2
    assert isinstance(decided("signals", "list", "--as-of", 10**9).exception, NotYetFolded)
    assert "'soon' is neither a position nor a time" in decided("signals", "list", "--as-of", "soon").output


@pytest.mark.parametrize(
    "words",
    [
        ("signals", "list", "--strategy", "wrld"),
        ("signals", "show", "wrld", 1),
        ("signals", "explain", "wrld", 1),
        ("signals", "verify", "wrld", 1),
        ("signals", "watch", "--strategy", "wrld", "--after", 0),
        ("outcomes", "--strategy", "wrld"),
        ("calibration", "wrld"),
        ("risk", "wrld"),
    ],
)
def test_a_strategy_that_there_is_not_is_an_error_wherever_it_is_named(
    decided: Run, words: tuple[object, ...]
) -> None:
    unknown = decided(*words)
    assert isinstance(unknown.exception, UnknownStrategy), (unknown.output, unknown.exception)
    assert "no strategy 'wrld'" in str(unknown.exception)


def test_a_decision_that_the_read_model_has_not_yet_is_said(alphapulse: Run, database_url: str) -> None:
    made = decision(1)
    defined = strategy(name="trial")
    asyncio.run(append(database_url, defined, made, issued(made, 1)))
    asyncio.run(fold(database_url, Signals()))
    for command in ("explain", "verify"):
        late = alphapulse("signals", command, "trial", 1)
        assert isinstance(late.exception, NotYetFolded), command
        assert made.decision in str(late.exception)


async def append(url: str, *new: Any) -> int:
    """Record each behind its stream; the last position."""
    async with PostgresEventStore(url) as store:
        position = 0
        for event in new:
            stream = stream_of(event)
            entry = codec.new_event(stream, await store.version(stream) + 1, event)
            position = (await store.append([entry]))[0].position
        return position


# -- watch ------------------------------------------------------------------------------------------


def test_watch_resumes_after_a_position_and_ctrl_c_ends_it_quietly(database_url: str) -> None:
    made = [decision(number, confidence=0.9 + number / 100) for number in (1, 2, 3)]
    won = outcome(made[0], number=1)
    asyncio.run(append(database_url, strategy(name="trial")))
    first, *_ = [asyncio.run(append(database_url, issued(each, n))) for n, each in enumerate(made, 1)]
    watch = ("signals", "watch", "--after")
    with command_line(*watch, first, "--json", ALPHAPULSE_DATABASE_URL=database_url) as watching:
        told = printed(watching, 2)
        assert [(each["name"], each["number"]) for each in told] == [
            ("signal.issued.v1", 3),  # the surest first
            ("signal.issued.v1", 2),
        ]
        asyncio.run(append(database_url, closed(won)))
        (last,) = printed(watching, 1)
        assert (last["name"], last["number"], last["net_bps"]) == ("signal.closed.v1", 1, 20.0)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    named = (*watch, 0, "--strategy", "trial")
    with command_line(*named, ALPHAPULSE_DATABASE_URL=database_url) as watching:
        assert watching.stdout
        assert "trial 3: long test:BTC_USD 5m at" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0


def test_who_resumes_a_watch_where_its_last_line_says_misses_nothing(database_url: str) -> None:
    """Lines of one look are ordered by confidence, so a line's own position is no place to resume after."""
    made = [decision(number, confidence=p) for number, p in enumerate((0.9, 0.99, 0.91, 0.98), 1)]
    asyncio.run(append(database_url, strategy(name="trial"), *(issued(m, n) for n, m in enumerate(made, 1))))
    told = watched(database_url, 0, 2)
    assert [each["number"] for each in told] == [2, 4]
    assert {each["resume_after"] for each in told} == {0}
    assert told[-1]["position"] == head(database_url)
    again = watched(database_url, told[-1]["resume_after"], 4)
    assert [each["number"] for each in again] == [2, 4, 3, 1]
    assert again[-1]["resume_after"] == head(database_url)


def watched(url: str, after: int, lines: int) -> list[Any]:
    with command_line(
        "signals", "watch", "--json", "--after", after, ALPHAPULSE_DATABASE_URL=url
    ) as watching:
        return printed(watching, lines)


def printed(process: subprocess.Popen[str], lines: int) -> list[Any]:
    """The next lines; who waits for more than come in a minute gets an error."""
    assert process.stdout
    end = threading.Timer(60, process.kill)
    end.start()
    try:
        return [json.loads(process.stdout.readline()) for _ in range(lines)]
    finally:
        end.cancel()


# -- outcomes, calibration, risk --------------------------------------------------------------------


def test_outcomes_of_signals_and_of_refused_candidates_are_told_apart(decided: Run, decided_url: str) -> None:
    resolved = of(decided_url, OutcomeRecorded)
    signals = objects(decided("outcomes", "--strategy", "world", "--last", 1_000, "--json"))
    others = objects(decided("outcomes", "--strategy", "world", "--refused", "--last", 1_000, "--json"))
    assert {each["decision"] for each in signals} == {each.decision for each in resolved if each.number}
    assert {each["decision"] for each in others} == {each.decision for each in resolved if not each.number}
    assert len(signals) + len(others) == len(resolved)
    newest = signals[0]
    table = decided("outcomes", "--last", 1).stdout
    assert f"world {newest['number']}" in table
    assert f"{newest['outcome']['net_bps']:+.1f}" in table


def test_calibration_judges_the_outcomes_that_are_listed(decided: Run) -> None:
    signals = objects(decided("outcomes", "--strategy", "world", "--last", 1_000, "--json"))
    judged = facts(decided("calibration", "world", "--bins", 4, "--json"))
    assert judged["claims"] == len(signals)
    assert judged["wins"] == sum(each["outcome"]["label"] for each in signals)
    assert judged["win_rate"] == pytest.approx(judged["wins"] / judged["claims"])
    mean = sum(each["confidence"] for each in signals) / len(signals)
    assert judged["mean_claim"] == pytest.approx(mean, abs=0.05)
    assert len(judged["bins"]) <= 4
    assert [fit["number"] for fit in judged["fitted"]] == sorted(
        (fit["number"] for fit in judged["fitted"]), reverse=True
    )
    every = facts(decided("calibration", "world", "--candidates", "--json"))
    assert every["claims"] > judged["claims"]
    text = decided("calibration", "world").stdout
    assert f"{judged['claims']} claims" in text
    assert judged["fitted"][0]["method"] in text


def test_a_strategy_without_claims_says_so(alphapulse: Run, database_url: str) -> None:
    asyncio.run(define(database_url, strategy()))
    assert "no claim of world has been resolved yet" in alphapulse("calibration", "world").stdout
    assert facts(alphapulse("calibration", "world", "--json"))["claims"] == 0
    assert "no tails: nothing is open" in alphapulse("risk", "world").stdout


def test_risk_of_what_is_open_is_told_as_of_any_position(decided: Run, decided_url: str) -> None:
    wanted = ("--timeframe", "1m", "--horizon", 2, "--bars", 200)
    now = facts(decided("risk", "world", *wanted, "--json"))
    signals, closes = of(decided_url, SignalIssued), of(decided_url, SignalClosed)
    assert (now["open"], now["closed"]) == (len(signals) - len(closes), len(closes))
    first = events(decided_url, "signal.issued.v1")[0]
    then = facts(decided("risk", "world", *wanted, "--as-of", first.position, "--json"))
    assert (then["open"], then["closed"]) == (1, 0)
    assert then["exposure"]["gross"] == pytest.approx(first.event.size_ratio)
    assert [tail["method"] for tail in then["tails"]] == ["historical"] * 2 + ["bootstrap"] * 2
    text = decided("risk", "world", *wanted, "--as-of", first.position).stdout
    assert "1 open, 0 closed" in text
    assert "expected shortfall" in text
    wrong = decided("risk", "world", "--timeframe", "2m")
    assert wrong.exit_code == 2
    assert "'2m' is none of 1m, 5m" in wrong.output
