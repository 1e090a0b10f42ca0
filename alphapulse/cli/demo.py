"""``alphapulse demo``: a million trades through the real stack, then questions to it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from alphapulse.processes.demo import Level, Stack

GENERATED = "sim:BTC_USD"
LIVE = "live:BTC_USD"
BLOCKS = "▁▂▃▄▅▆▇█"


def demo(
    trades: Annotated[
        int, typer.Option(min=1_000, help="How many to generate where there are no real ones.")
    ] = 1_200_000,
    data_dir: Annotated[Path | None, typer.Option(help="Keep everything here; else it is removed.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API; 0: any free one.")] = 0,
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Stay up afterwards; default: on a terminal.")
    ] = None,
) -> None:
    """Import a million trades (real ones where ALPHAPULSE_DATA has them), watch them become candles, ask.

    Starts a PostgreSQL and a nats-server of its own. Off a terminal it ends by itself.
    """
    import asyncio
    import contextlib
    import signal
    import sys
    import tempfile

    from rich.console import Console

    from alphapulse.processes.demo import running_stack, sample_files
    from alphapulse.settings import load

    console = Console(highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order, as Ctrl-C does
    stays = sys.stdout.isatty() if stay is None else stay
    files = sample_files(load(running=False).data)
    with contextlib.ExitStack() as after:
        folder = data_dir or Path(after.enter_context(tempfile.TemporaryDirectory(prefix="alphapulse-demo-")))
        if data_dir is None:
            os.chmod(folder, 0o755)  # noqa: PTH101, S103  the servers' user has to pass; what is inside is closed
        console.print("[bold]1. Start[/] PostgreSQL, nats-server, relay, projections and API")
        stack = after.enter_context(_timed(console, lambda: running_stack(folder.absolute(), port)))
        asyncio.run(_show(console, stack, files, trades, _pictures(data_dir).absolute()))
        if stays:
            _stay(console, stack)


def _pictures(data_dir: Path | None) -> Path:
    """Where what is drawn is kept: with the data that is kept, else in ./var, or where we may write."""
    import contextlib
    import tempfile

    folder = data_dir or Path("var")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK | os.X_OK):
        return folder
    return Path(tempfile.mkdtemp(prefix="alphapulse-charts-"))


def _timed(console: "Console", start: Callable[[], Any]) -> Any:
    import contextlib
    import time

    @contextlib.contextmanager
    def timed() -> Any:
        began = time.monotonic()
        with console.status("starting …"), contextlib.ExitStack() as held:
            stack = held.enter_context(start())
            later = held.pop_all()
        with later:
            console.print(f"   ready after {time.monotonic() - began:.1f} s: {stack.graphql}")
            yield stack

    return timed()


async def _show(console: "Console", stack: "Stack", files: Any, trades: int, pictures: Path) -> None:
    import time

    from alphapulse.cli.demo_performance import show_performance
    from alphapulse.cli.demo_proof import show_proof
    from alphapulse.cli.demo_signals import STRATEGY, TIMEFRAME, show_signals

    began = time.monotonic()
    # Defined before anything is known, so that every decision is one about the future.
    await stack.command("strategies", "define", "--default", STRATEGY, "--timeframe", TIMEFRAME)
    what = f"{len(files)} real files" if files else f"{trades:,} generated trades"
    console.print(f"[bold]2. Append[/] {what} to the log, relay them to NATS, fold them into candles")
    await _fill(console, stack, files, trades)
    console.print("[bold]3. Ask[/] over GraphQL")
    await _ask(console, stack)
    console.print("[bold]4. Analyse[/] what was known when: features, regime, levels, patterns")
    await _analyse(console, stack, pictures)
    console.print("[bold]5. Decide[/] by votes, a calibrated claim and a gate; watch what became of it")
    await show_signals(console, stack, planted=not files)
    console.print("[bold]6. Subscribe[/] while a market trades live")
    await _live(console, stack)
    console.print("[bold]7. Check[/] the read models against a fresh rebuild from the log")
    for name in ("candles", "features", "decisions", "signals", "performance", "attribution", "audit_trail"):
        compared = (await stack.command("projections", "verify", name))[0]
        (digest,) = await stack.command("projections", "digest", name)
        verdict = "equal, row by row" if compared["equal"] else "[red]NOT EQUAL[/]"
        hashed = f"content hash {digest['digest'][:16]}… at position {digest['position']:,}"
        console.print(f"   {name} {verdict}; {hashed}")
    console.print("[bold]8. Measure[/] what it was worth, how sure that is, and whom it is owed to")
    await show_performance(console, stack, STRATEGY)
    console.print("[bold]9. Prove[/] it to somebody who trusts nobody")
    await show_proof(console, stack, STRATEGY, pictures)
    console.print(f"Done in {time.monotonic() - began:.1f} s.")


async def _fill(console: "Console", stack: "Stack", files: Any, trades: int) -> None:
    import asyncio
    import time

    from rich.live import Live
    from rich.text import Text

    from alphapulse.cli.demo_signals import PLANTED
    from alphapulse.processes.demo import until_level

    began = time.monotonic()
    done: list[dict[str, Any]] = []

    def line(now: "Level") -> Text:
        appended = sum(facts.get("accepted", facts.get("trades", 0)) for facts in done)
        relayed = now.position - (now.relay_lag or 0) if now.relay_lag is not None else 0
        return Text(
            f"   log {now.position:,} events, {appended:,} trades in   NATS {relayed:,}   "
            f"candles {now.position - now.projection_lag:,}   {time.monotonic() - began:.1f} s"
        )

    if files:
        words = ["import", "trades", *map(str, files)]
    else:
        words = ["generate", GENERATED, "--trades", str(trades), *PLANTED]
    with Live(console=console, auto_refresh=False, transient=True) as live:
        filling = asyncio.create_task(stack.command(*words, on_line=done.append))
        while not filling.done():
            await until_level_or(filling, stack, lambda now: live.update(line(now), refresh=True))
        await filling
        await until_level(stack, lambda now: live.update(line(now), refresh=True))
    seconds = time.monotonic() - began
    total = sum(facts.get("accepted", facts.get("trades", 0)) for facts in done)
    repeats = sum(facts.get("duplicates", 0) for facts in done)
    console.print(
        f"   {total:,} trades ({repeats:,} repeats left out) are in the log, on the bus and in the candles "
        f"after {seconds:.1f} s: {total / seconds:,.0f} a second"
    )


async def until_level_or(filling: Any, stack: "Stack", see: Callable[["Level"], None]) -> None:
    """Look at the stack once, then pause for a moment or until ``filling`` is done."""
    import asyncio

    from alphapulse.processes.demo import level

    see(await asyncio.to_thread(level, stack))
    await asyncio.wait([filling], timeout=0.1)


async def _ask(console: "Console", stack: "Stack") -> None:
    from rich.table import Table

    nodes = stack.query("{ instruments { nodes { id tradeCount } } }")["instruments"]["nodes"]
    busiest = max(nodes, key=lambda node: int(node["tradeCount"]))
    document = """query ($instrument: String!) {
        days: candles(instrument: $instrument, timeframe: D1, last: 9) {
            start high low close baseVolume tradeCount coverage
        }
        hours: candles(instrument: $instrument, timeframe: H1, last: 72) { close }
    }"""
    answer = stack.query(document, instrument=busiest["id"])
    days = answer["days"]
    title = f"   {busiest['id']}, {int(busiest['tradeCount']):,} trades, one bar a day"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 0, 0, 2))
    for heading in ("day", "high", "low", "close", "volume", "trades", "covered"):
        table.add_column(heading, justify="left" if heading == "day" else "right", no_wrap=True)
    for row in zip(*(days[name] for name in _COLUMNS), strict=True):
        table.add_row(*_cells(row))
    console.print(table)
    closes = [float(close) for close in answer["hours"]["close"]]
    console.print(
        f"   last {len(closes)} hours  {_sparkline(closes)}  {min(closes):,.0f} … {max(closes):,.0f}"
    )
    await _as_of(console, stack, busiest["id"])


_COLUMNS = ("start", "high", "low", "close", "baseVolume", "tradeCount", "coverage")


def _cells(row: tuple[Any, ...]) -> list[str]:
    from decimal import Decimal

    start, *prices, volume, trades, coverage = row
    shown = [f"{Decimal(price):,f}" for price in prices]
    return [_day(start), *shown, f"{Decimal(volume):,.2f}", f"{trades:,}", f"{coverage:.0%}"]


def _day(start_ms: int) -> str:
    from datetime import UTC, datetime

    return str(datetime.fromtimestamp(start_ms / 1000, UTC).date())


def _sparkline(values: list[float]) -> str:
    low, span = min(values), (max(values) - min(values)) or 1.0
    return "".join(BLOCKS[int((value - low) / span * (len(BLOCKS) - 1))] for value in values)


async def _as_of(console: "Console", stack: "Stack", instrument: str) -> None:
    """Ask the same question of the log as it stood half-way."""
    head = int(stack.query("{ log { position } }")["log"]["position"])
    document = """query ($instrument: String!, $position: Position!) {
        candles(instrument: $instrument, timeframe: D1, last: 1, asOf: {position: $position}) { start close }
    }"""
    for position in (head // 2, head):
        series = stack.query(document, instrument=instrument, position=position)["candles"]
        if series["start"]:
            day, close = _day(series["start"][0]), series["close"][0]
            console.print(f"   as of position {position:,} the last day was {day}, at {close}")


_ANALYSIS = """query ($instrument: String!) {
    latestFeatures(set: "core", instruments: [$instrument], timeframe: H1) { vectors { start values } }
    regime(instrument: $instrument, timeframe: M15, last: 1) { current }
    levels(instrument: $instrument, timeframe: H1) { close levels { kind price side distance } }
    patterns(instrument: $instrument, timeframe: M5, last: 1, horizon: 12) {
        history reliability {
            name adjusted record { detections hitRate hitLow hitHigh baseRate }
        }
    }
}"""
_SHOWN = ("rsi_14", "adx", "bbands_percent_b", "roc_10")


async def _analyse(console: "Console", stack: "Stack", pictures: Path) -> None:
    import time

    from alphapulse.graphql.pages import ASSETS
    from alphapulse.processes.demo import busiest, until_level

    began = time.monotonic()
    (defined,) = await stack.command("features", "define", "--default")
    await until_level(stack, lambda _: None)
    instrument = busiest(stack)
    found = stack.query(_ANALYSIS, instrument=instrument)
    vectors = found["latestFeatures"]["vectors"]
    console.print(
        f"   feature set {defined['name']}, version {defined['version']}: "
        f"{max((len(vector['values']) for vector in vectors), default=0)} features of every bar since the "
        f"first, after {time.monotonic() - began:.1f} s"
    )
    for vector in vectors:
        shown = "  ".join(f"{n} {v:.2f}" for n in _SHOWN if (v := vector["values"].get(n)) is not None)
        regime = str(found["regime"]["current"] or "not known yet").replace("_", " ")
        console.print(f"   {instrument} 1h, {vector['start'][:16]}: {shown}; regime of 15m: {regime}")
    _levels(console, found["levels"])
    _patterns(console, found["patterns"])
    words = ("chart", instrument, "15m", "--with", "bbands,rsi,macd,patterns,levels", "--output")
    # A page needs the built browser assets; the picture does not.
    for file in [pictures / "chart.png", *[pictures / "chart.html"] * (ASSETS / "chart.js").exists()]:
        await stack.command(*words, str(file))
        console.print(f"   drawn: {file}")


def _levels(console: "Console", found: dict[str, Any]) -> None:
    for side in ("resistance", "support"):
        there = (o for o in found["levels"] if o["side"] == side and o["distance"] is not None)
        best = sorted(there, key=lambda o: abs(o["distance"]))[:3]
        prices = ", ".join(f"{o['price']:,.10g} ({o['kind'].replace('_', ' ')})" for o in best)
        console.print(f"   {side} of {found['close']:,.10g}: {prices}")


def _patterns(console: "Console", found: dict[str, Any]) -> None:
    """The patterns that were seen most, and whether they were right more often than the market is anyway."""
    rows = sorted(found["reliability"], key=lambda row: -row["record"]["detections"])[:3]
    console.print(f"   candlestick patterns on {found['history']:,} bars of 5m, an hour later:")
    for row in rows:
        record = row["record"]
        if record["hitRate"] is None:
            continue
        name = row["name"].replace("_", " ")
        interval = f"{record['hitLow']:.0%} to {record['hitHigh']:.0%}"
        judged = (
            "reliable" if row["adjusted"] is not None and row["adjusted"] <= 0.05 else "no better than chance"
        )
        console.print(
            f"     {name}: {record['detections']} times, right {record['hitRate']:.0%} "
            f"({interval}), anyway {record['baseRate']:.0%}: {judged}"
        )


async def _live(console: "Console", stack: "Stack") -> None:
    from alphapulse.processes.demo import watch_live

    shown = 0

    def see(candle: dict[str, Any]) -> None:
        nonlocal shown
        shown += 1
        if shown in (1, 50, 100, 150):
            console.print(
                f"   {LIVE} {candle['start'][11:16]} close {candle['close']} volume {candle['baseVolume']} "
                f"trades {candle['tradeCount']} {'closed' if candle['closed'] else 'open'}"
            )

    live = await watch_live(stack, LIVE, trades=300, rate=100.0, see=see)
    waits = sorted(live.latencies_ms)
    if waits:
        console.print(
            f"   {len(live.updates)} candle updates; from commit to a subscriber of the log: "
            f"median {waits[len(waits) // 2]:.1f} ms, 99 % within {waits[int(len(waits) * 0.99)]:.1f} ms"
        )


def _stay(console: "Console", stack: "Stack") -> None:
    import signal

    console.print()
    console.print(f"[bold]GraphQL[/]     {stack.graphql} (GraphiQL in a browser)")
    console.print(f"[bold]Commands[/]    ALPHAPULSE_DATA_DIR={stack.data_dir} alphapulse candles {LIVE}")
    console.print(f"[bold]PostgreSQL[/]  {stack.addresses['database_url']}")
    console.print(f"[bold]NATS[/]        {stack.addresses['nats_url']}, subjects alphapulse.>")
    console.print("It stays up until Ctrl-C.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("Stopping …")
