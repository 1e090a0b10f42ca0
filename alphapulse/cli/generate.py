"""``alphapulse generate``: a made-up but lifelike market, into the log or a file."""

from pathlib import Path
from typing import Annotated, Any

import typer


def generate(
    instrument: Annotated[str, typer.Argument(help="venue:symbol to trade.")] = "sim:BTC_USD",
    trades: Annotated[int | None, typer.Option(min=1, help="How many; live: until stopped.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same tape.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Trade live, about so many a second by the wall clock.")
    ] = None,
    market_rate: Annotated[
        float, typer.Option(min=0.001, help="Not live: trades a second of market time.")
    ] = 10.0,
    start: Annotated[str | None, typer.Option(help="Not live: first time, ISO 8601, UTC.")] = None,
    price: Annotated[float, typer.Option(min=0.0001, help="Price at the start.")] = 40_000.0,
    volatility: Annotated[
        float, typer.Option(min=0, max=0.01, help="Standard deviation of one trade's price change, a ratio.")
    ] = 2e-5,
    gaps_per_day: Annotated[float, typer.Option(min=0, help="Holes of 1 to 30 minutes.")] = 0.0,
    bursts_per_day: Annotated[
        float, typer.Option(min=0, help="Minutes of one-sided trading, each followed by a run of the price.")
    ] = 0.0,
    edge: Annotated[
        float, typer.Option(min=0, max=1, help="How often the run goes the way of its burst; 0.5: no edge.")
    ] = 0.5,
    csv: Annotated[
        Path | None, typer.Option(help="Write this file (.gz packs it) instead of the log.")
    ] = None,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="CSV: ratio of repeated rows.")] = 0.0,
    blank_times: Annotated[
        float, typer.Option(min=0, max=1, help="CSV: ratio of rows without a time.")
    ] = 0.0,
    shuffled: Annotated[bool, typer.Option("--shuffled", help="CSV: rows out of order.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Generate lifelike trades into the log (as a feed, with its gaps and watermarks) or into a CSV file.

    alphapulse generate sim:BTC_USD --trades 1000000

    alphapulse generate sim:EDGE --market-rate 0.5 --volatility 5e-5 --bursts-per-day 8 --edge 0.97
    """
    import asyncio

    from alphapulse.cli.console import complain, say
    from alphapulse.domain.market.generate import TapeSpec
    from alphapulse.domain.market.instrument import Instrument

    wanted = Instrument.parse(instrument)
    disorder: dict[str, Any] = {
        "duplicate_ratio": duplicates,
        "blank_time_ratio": blank_times,
        "shuffled": shuffled,
    }
    if csv is None and any(disorder.values()):
        complain("--duplicates, --blank-times and --shuffled are for --csv: the log holds each trade once")
        raise typer.Exit(2)
    spec = TapeSpec(
        price=price, rate_per_s=rate or market_rate, step_ratio=volatility, gaps_per_day=gaps_per_day,
        bursts_per_day=bursts_per_day, planted_edge=edge, **_start(start), **disorder,
    )  # fmt: skip
    if csv is not None:
        facts = _write(csv, wanted, spec, seed, trades or 1_000_000)
    else:
        facts = asyncio.run(_into_log(wanted, spec, seed, trades, live=rate is not None, quiet=as_json))
    sentence = f"{facts['trades']:,} trades of {wanted} in {facts['seconds']:.1f} s, to {facts['target']}"
    say(sentence, facts, as_json)


def _start(text: str | None) -> dict[str, Any]:
    from datetime import UTC, datetime

    if text is None:
        return {}
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return {"start": int(moment.timestamp()) * 1_000_000_000}


def _write(path: Path, instrument: Any, spec: Any, seed: int, rows: int) -> dict[str, Any]:
    import time

    import numpy as np

    from alphapulse.adapters.files.write import HEADER, open_text, write_trades
    from alphapulse.domain.market.generate import tape

    began = time.monotonic()
    with open_text(path) as out:
        out.write(HEADER)
        for chunk in tape(spec, np.random.default_rng(seed), rows=rows):
            write_trades(out, instrument, chunk.trades)
    return {
        "instrument": str(instrument), "trades": rows, "target": str(path), "seed": seed,
        "seconds": time.monotonic() - began,
    }  # fmt: skip


async def _into_log(
    instrument: Any, spec: Any, seed: int, rows: int | None, *, live: bool, quiet: bool
) -> dict[str, Any]:
    import asyncio
    import contextlib
    import signal
    import sys
    import time

    import numpy as np

    from alphapulse.cli.progress import counter
    from alphapulse.processes.generating import generate_fast, generate_live
    from alphapulse.processes.wiring import SystemClock, event_store
    from alphapulse.settings import load

    began, rng = time.monotonic(), np.random.default_rng(seed)
    stop = asyncio.Event()
    async with event_store(load()) as store:
        with counter(
            "trades", None if live else rows or 1_000_000, show=not quiet and sys.stderr.isatty()
        ) as tell:
            if live:
                with contextlib.suppress(NotImplementedError):
                    for number in (signal.SIGINT, signal.SIGTERM):
                        asyncio.get_running_loop().add_signal_handler(number, stop.set)
                done = await generate_live(
                    store, instrument, spec, rng, SystemClock(), stop, rows=rows,
                    progress=lambda g: tell(g.trades),
                )  # fmt: skip
            else:
                done = await generate_fast(
                    store, instrument, spec, rng, rows=rows or 1_000_000, progress=lambda g: tell(g.trades)
                )
    return {
        "instrument": str(instrument), "trades": done.trades, "events": done.events, "target": "the log",
        "seed": seed, "seconds": time.monotonic() - began, "time_lo": done.time_lo, "time_hi": done.time_hi,
    }  # fmt: skip
