"""Funding rates and headlines come into the log once, in UTC, and what is wrong is refused and kept."""

import asyncio
import gzip
import random
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.files import headlines as headline_files
from alphapulse.adapters.files.funding import PRESETS
from alphapulse.adapters.files.headlines import HeadlineMapping
from alphapulse.adapters.files.open import Naming, Unnamed
from alphapulse.adapters.files.reader import UnreadableFile
from alphapulse.adapters.store import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market import fundamentals_headlines
from alphapulse.domain.market.fundamentals import EVERY, HOUR_NS, Headline
from alphapulse.domain.market.fundamentals_state import (
    FundingState,
    NewsState,
    evolve,
    funding_at,
    sentiment_at,
)
from alphapulse.domain.ports import EventStore, StoreUnavailable
from alphapulse.processes.import_fundamentals import import_funding, import_news
from alphapulse.processes.importing import ImportBroken, TooManyRefused
from tests.market_data import data_file

BINANCE = Naming(venue="binance")
FUNDING, REFUSALS = "funding-binance-BTC_USDT", "refusals-binance-BTC_USDT"
HEADER = "Symbol,Date,Funding Rate\n"
NEWS_HEADER = "date;sentiment;source;subject;text;title;url\n"
FIRST = datetime(2023, 1, 1, 3, tzinfo=UTC)  # as the file writes it: 00:00 UTC
FIRST_NS = 1_672_531_200_000_000_000


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with PostgresEventStore(request.getfixturevalue("database_url")) as real:
            yield real


def rate_lines(n: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [
        f"BTC-USDT,{FIRST + timedelta(hours=8 * i):%Y-%m-%d %H:%M:%S}.00{rng.randrange(3)},"
        f"{rng.randint(-30_000, 30_000) / 1e8:.8f}"
        for i in range(n)
    ]


def write(path: Path, lines: Sequence[str], header: str = HEADER) -> Path:
    text = header + "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def news_lines(n: int, seed: int = 1, body: int = 100) -> list[str]:
    """Newest first, as the file has them."""
    rng = random.Random(seed)
    moments = [datetime(2022, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * i) for i in range(n)]
    return [
        f"{t.day}-{t.month}-{t.year} {t:%H:%M};"
        f"{{'class': 'neutral', 'polarity': {rng.randint(-100, 100) / 100}, 'subjectivity': 0.1}};"
        f"Wire;{rng.choice(['bitcoin', 'ethereum', 'altcoin'])};{'x' * body};Story {i}, and more;https://w/{i}"
        for i, t in reversed(list(enumerate(moments)))
    ]


async def log_of(store: EventStore, stream: str) -> list[Any]:
    events: list[Any] = []
    version = 0
    while records := await store.read_stream(stream, after=version, limit=100):
        events += [codec.decode(r).event for r in records]
        version = records[-1].version
    return events


def rows_of(events: Sequence[Any]) -> list[tuple[int, int, int]]:
    """(time, rate at 18 decimals, hours) of every rate."""
    return sorted(
        (t, rate * 10 ** (18 - e.columns.rate_exponent), hours)
        for e in events
        for t, rate, hours in zip(
            e.columns.time.tolist(),
            e.columns.rate.tolist(),
            e.columns.interval_hours.tolist(),
            strict=True,
        )
    )


async def headlines_of(store: EventStore, source: str = "cryptonews") -> list[Headline]:
    return [h for e in await log_of(store, f"news-{source}") for h in e.headlines]


async def test_rates_come_into_the_log_in_utc_and_exactly_and_a_second_time_adds_nothing(
    store: EventStore, tmp_path: Path
) -> None:
    lines = rate_lines(12_000)
    path = write(tmp_path / "f.csv.gz", [*lines, "BTC-USDT,2019-13-01 00:00:00,0.1"])
    done = await import_funding(path, store, naming=BINANCE)
    assert (done.rows, done.accepted, done.duplicates, done.refused) == (12_001, 12_000, 0, 1)
    assert done.format == "funding_history:+03:00"
    events = await log_of(store, FUNDING)
    assert all(len(e.columns) <= 10_000 for e in events)
    wanted = [
        (FIRST_NS + i * 8 * HOUR_NS + int(line[31]) * 1_000_000, round(float(line[33:]) * 1e8) * 10**10, 8)
        for i, line in enumerate(lines)
    ]
    assert rows_of(events) == wanted
    head = await store.head()
    again = await import_funding(path, store, naming=BINANCE)
    assert (again.accepted, again.duplicates, again.refused, again.events) == (0, 12_000, 1, 0)
    assert await store.head() == head


async def test_headlines_come_into_the_log_oldest_first_and_a_second_time_adds_nothing(
    store: EventStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "n.csv.gz", news_lines(2_500), NEWS_HEADER)
    done = await import_news(path, store)
    assert (done.rows, done.accepted, done.duplicates, done.refused) == (2_500, 2_500, 0, 0)
    found = await headlines_of(store)
    assert {h.title for h in found} == {f"Story {i}, and more" for i in range(2_500)}
    for event in await log_of(store, "news-cryptonews"):
        keys = [h.key for h in event.headlines]
        assert keys == sorted(keys)
    assert {h.subjects for h in found} == {("BTC",), ("ETH",), ()}
    story = next(h for h in found if h.url == "https://w/1")
    assert (story.time, story.publisher) == (1_640_995_620_000_000_000, "Wire")
    head = await store.head()
    again = await import_news(path, store)
    assert (again.accepted, again.duplicates, again.events) == (0, 2_500, 0)
    assert await store.head() == head


async def test_the_same_rows_in_another_file_are_recognised(store: EventStore, tmp_path: Path) -> None:
    lines, stories = rate_lines(100), news_lines(100)
    await import_funding(write(tmp_path / "a.csv", lines[:70]), store, naming=BINANCE)
    late = [f"{line[:29]}1{line[30:]}" for line in lines[30:]]  # stamps 10 ms later: the same settlements
    done = await import_funding(write(tmp_path / "b.csv", late), store, naming=BINANCE)
    assert (done.accepted, done.duplicates, done.refused) == (30, 40, 0)
    await import_news(write(tmp_path / "c.csv", stories[:70], NEWS_HEADER), store)
    done = await import_news(write(tmp_path / "d.csv", stories[30:], NEWS_HEADER), store)
    assert (done.accepted, done.duplicates, done.refused) == (30, 40, 0)


async def test_a_row_that_the_log_holds_with_another_value_is_refused_and_kept(
    store: EventStore, tmp_path: Path
) -> None:
    lines = rate_lines(3)
    await import_funding(write(tmp_path / "a.csv", lines), store, naming=BINANCE)
    changed = [lines[0], lines[1].rpartition(",")[0] + ",0.5", lines[2]]
    for _ in range(2):
        done = await import_funding(write(tmp_path / "b.csv", changed), store, naming=BINANCE)
        assert (done.accepted, done.duplicates, done.refused) == (0, 2, 1)
    (refused,) = await log_of(store, REFUSALS)
    assert [(r.row, r.raw) for r in refused.rows] == [(2, changed[1])]
    reason = "the settlement of 2023-01-01T08:00Z was accepted before with other values: rate "
    assert refused.rows[0].reason.startswith(reason)

    stories = news_lines(3)
    await import_news(write(tmp_path / "c.csv", stories, NEWS_HEADER), store)
    changed = [stories[0].replace("and more", "and less"), *stories[1:]]
    done = await import_news(write(tmp_path / "d.csv", changed, NEWS_HEADER), store)
    assert (done.accepted, done.duplicates, done.refused) == (0, 2, 1)
    (refused,) = await log_of(store, "refusals-news-cryptonews")
    assert "accepted before with other values: 'Story 2, and more'" in refused.rows[0].reason
    assert len(await headlines_of(store)) == 3


async def test_of_two_rows_in_one_file_with_other_values_the_first_stays(
    store: EventStore, tmp_path: Path
) -> None:
    line = "BTC-USDT,2023-01-01 03:00:00,0.0001"
    done = await import_funding(
        write(tmp_path / "a.csv", [line, line, line.replace("0.0001", "0.0002")]), store, naming=BINANCE
    )
    assert (done.accepted, done.duplicates, done.refused) == (1, 1, 1)
    assert "with other values: row 1" in done.first_refusals[0].reason
    story = news_lines(1)[0]
    done = await import_news(
        write(tmp_path / "b.csv", [story, story, story.replace("Wire", "W"), story.replace("more", "less")],
              NEWS_HEADER), store
    )  # fmt: skip
    assert (done.accepted, done.duplicates, done.refused) == (1, 2, 1)


async def test_bad_rates_are_refused_with_reason_and_text_beside_the_accepted(
    store: EventStore, tmp_path: Path
) -> None:
    bad = {
        "BTC-USDT,2023-02-01 03:00:00,NaN": "rate 'NaN' is not a number",
        "BTC-USDT,2023-02-01 11:00:00,1e9": "rate '1e9' is not between -1 and 1 an interval",
        "BTC-USDT,2023-02-01 11:00:00,-1.5": "rate '-1.5' is not between -1 and 1 an interval",
        "BTC-USDT,2023-02-01 19:00:00,": "rate is blank",
        "BTC-USDT,2023-02-02 03:00:00,much": "rate 'much' cannot be read",
        "BTC-USDT,2023-02-30 03:00:00,0.1": "time '2023-02-30 03:00:00' cannot be read",
        "BTC-USDT,1/2/2023,0.1": "time '1/2/2023' cannot be read",
        "BTC-USDT,1969-02-01 03:00:00,0.1": "time '1969-02-01 03:00:00' is out of range",
        "BTC-USDT,2008-02-01 03:00:00,0.1": "time '2008-02-01 03:00:00' is not between 2009 and 2100",
        "BTC-USDT,,0.1": "time is blank",
        "BTC-USDT,2023-02-01 03:00:00": "too few or too many fields",
    }
    path = write(tmp_path / "f.csv", [*rate_lines(5), *bad])
    done = await import_funding(path, store, naming=BINANCE)
    assert (done.accepted, done.refused) == (5, len(bad))
    (event,) = await log_of(store, REFUSALS)
    assert {r.row: (r.raw, r.reason) for r in event.rows} == {
        6 + i: item for i, item in enumerate(bad.items())
    }
    (finished,) = await log_of(store, f"imports-{done.sha256}")
    assert (finished.rows, finished.accepted, finished.refused) == (16, 5, 11)
    assert (finished.venue, finished.symbol) == ("binance", "BTC_USDT")


async def test_bad_headlines_are_refused_with_reason_and_text_beside_the_accepted(
    store: EventStore, tmp_path: Path
) -> None:
    good = "1-1-2022 00:07;0.5;Wire;bitcoin;text;Story;https://w/1"
    bad = {
        good.replace("1-1-2022 00:07", "31-2-2022 00:07"): "time '31-2-2022 00:07' cannot be read as",
        good.replace("1-1-2022 00:07", ""): "time is blank",
        good.replace("2022", "1999"): "is not between 2009 and 2100",
        good.replace("0.5", "nan"): "sentiment nan is not between -1 and 1",
        good.replace("0.5", "1e9"): "sentiment 1000000000.0 is not between -1 and 1",
        good.replace("0.5", "{'class': 'neutral'}"): "is neither a number nor holds a polarity",
        good.replace("0.5", "{'polarity': 'much', 'class': 1}"): "is neither a number nor holds a polarity",
        good.replace("Story", " "): "title is blank",
        good.replace("Story", "x" * 501): "title of 501 characters, over 500",
        good.replace("https://w/1", "x" * 2_001): "url of 2001 characters, over 2000",
        good.replace("Story", "St\udc81ry"): "not UTF-8",
        "1-1-2022 00:07;0.5;Wire": "3 fields, the header has 7",
    }  # fmt: skip
    path = tmp_path / "n.csv"
    path.write_bytes(
        (NEWS_HEADER + "".join(f"{line}\n" for line in [good, *bad])).encode(errors="surrogateescape")
    )
    done = await import_news(path, store)
    assert (done.accepted, done.refused) == (1, len(bad))
    (event,) = await log_of(store, "refusals-news-cryptonews")
    for (line, reason), row in zip(bad.items(), event.rows, strict=True):
        assert reason in row.reason
        assert row.raw[:2_000] == line.replace("\udc81", "\\x81")[:2_000]
    assert [r.row for r in event.rows] == list(range(2, 14))
    (finished,) = await log_of(store, f"imports-{done.sha256}")
    assert (finished.venue, finished.symbol, finished.format) == ("news", "cryptonews", "cryptonews:UTC")


async def test_quoted_line_feeds_and_quotes_inside_a_title_are_read(
    store: EventStore, tmp_path: Path
) -> None:
    text = (
        'when,head,body\n2024-01-01T00:00:00Z,"He said ""sell"",\nthen bought","a\nb"\n'
        "2024-01-01T02:00:00+02:00,B,\n"
    )
    (tmp_path / "n.csv").write_text(text)
    mapping = HeadlineMapping(name="map", time="when", title="head")
    done = await import_news(tmp_path / "n.csv", store, file_format=mapping, source="mine", east_s=0)
    assert (done.rows, done.accepted) == (2, 2)
    found = await headlines_of(store, "mine")
    assert {(h.time, h.title) for h in found} == {
        (1_704_067_200_000_000_000, 'He said "sell", then bought'),
        (1_704_067_200_000_000_000, "B"),
    }
    assert all(h.sentiment is None and h.subjects == () for h in found)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"Symbol,Date\nBTC-USDT,2020-01-01 03:00:00\n", "fits no known format"),
        (b"\x00\x01\x02 not text" * 50, "binary data|not UTF-8"),
        (b"<html><body>404</body></html>\n", "fits no known format|fit no known format"),
        (gzip.compress(("x" * 10 + HEADER + "\n".join(rate_lines(999))).encode())[:-40], "cut off|broken"),
    ],
)
async def test_a_file_that_is_none_of_these_leaves_the_log_as_it_was(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    store = MemoryEventStore()
    (tmp_path / "f").write_bytes(content)
    with pytest.raises((UnreadableFile, ImportBroken), match=complaint):
        await import_funding(tmp_path / "f", store, naming=BINANCE)
    with pytest.raises((UnreadableFile, ImportBroken)):
        await import_news(tmp_path / "f", store)
    assert await store.head() == 0


async def test_a_damaged_gzip_leaves_nothing_and_the_mended_file_comes_in_whole(
    store: EventStore, tmp_path: Path
) -> None:
    for path, run in (
        (write(tmp_path / "f.csv.gz", rate_lines(3_000)), partial(import_funding, naming=BINANCE)),
        (write(tmp_path / "n.csv.gz", news_lines(3_000), NEWS_HEADER), import_news),
    ):
        whole = path.read_bytes()
        head = await store.head()
        for damaged in (whole[:-30], whole[: len(whole) // 2] + b"\0" * 50 + whole[len(whole) // 2 + 50 :]):
            path.write_bytes(damaged)
            with pytest.raises(ImportBroken, match="broken or cut off"):
                await run(path, store)
            assert await store.head() == head
        path.write_bytes(whole)
        assert (await run(path, store)).accepted == 3_000


async def test_a_quote_that_is_never_closed_breaks_the_file_with_its_row(tmp_path: Path) -> None:
    store = MemoryEventStore()
    lines = news_lines(3_000)
    lines[1_500] = '1-1-2022 00:00;0.1;"Wire;' + lines[1_500]
    with pytest.raises(ImportBroken, match=r"after row 1500: field larger than field limit .131072."):
        await import_news(write(tmp_path / "n.csv", lines, NEWS_HEADER), store)
    assert len(await headlines_of(store)) == 1_000  # whole chunks before it


async def test_more_refused_rows_than_allowed_stop_the_import_before_its_chunk(tmp_path: Path) -> None:
    store = MemoryEventStore()
    path = write(tmp_path / "f.csv", [line.rpartition(",")[0] + ",x" for line in rate_lines(20)])
    with pytest.raises(TooManyRefused, match="over 19 rows refused"):
        await import_funding(path, store, naming=BINANCE, max_refused=19)
    assert await store.head() == 0
    assert (await import_funding(path, store, naming=BINANCE, max_refused=20)).refused == 20


async def test_batches_of_headlines_stay_below_their_bytes_and_events_below_the_store_s(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline_files, "CHUNK", 4_000)
    titles = [line.replace("Story", "\x01" * 80 + "Störy") for line in news_lines(3_000, body=10)]
    await import_news(write(tmp_path / "n.csv", titles, NEWS_HEADER), store)
    records = await store.read_stream("news-cryptonews")
    assert len(records) > 3
    assert max(len(r.state) for r in records) <= fundamentals_headlines.MAX_BATCH_BYTES
    assert len(await headlines_of(store)) == 3_000
    for record in records:
        event = codec.decode(record).event
        assert (record.id_lo, record.id_hi) == (event.headlines[0].key, event.headlines[-1].key)
        assert record.envelope.event_time == max(h.time for h in event.headlines)


async def test_a_venue_without_a_preset_needs_a_zone_and_an_interval(tmp_path: Path) -> None:
    store = MemoryEventStore()
    path = write(tmp_path / "f.csv", rate_lines(2))
    with pytest.raises(Unnamed, match="give --venue"):
        await import_funding(path, store)
    with pytest.raises(Unnamed, match=r"in which zone .* give --zone UTC"):
        await import_funding(path, store, naming=Naming(venue="okx"))
    with pytest.raises(Unnamed, match="give --interval-hours"):
        await import_funding(path, store, naming=Naming(venue="okx"), east_s=0)
    assert await store.head() == 0
    await import_funding(path, store, naming=Naming(venue="okx"), east_s=-3600, interval_hours=4)
    time, _, hours = rows_of(await log_of(store, "funding-okx-BTC_USDT"))[0]
    assert (time // HOUR_NS, hours) == (FIRST_NS // HOUR_NS + 4, 4)


async def test_who_imports_overrides_the_preset_and_offsets_in_the_file_override_both(tmp_path: Path) -> None:
    store = MemoryEventStore()
    lines = [
        "BTC-USDT,2023-01-01 00:00:00,0.0001",
        "BTC-USDT,2023-01-01T12:00:00+04:00,0.0002",
        "BTC-USDT,2023-01-01T16:00:00Z,0.0003",
    ]
    done = await import_funding(
        write(tmp_path / "f.csv", lines), store, naming=BINANCE, east_s=0, interval_hours=4
    )
    assert done.format == "funding_history:UTC"
    assert [(t, h) for t, _, h in rows_of(await log_of(store, FUNDING))] == [
        (FIRST_NS + i * 8 * HOUR_NS, 4) for i in range(3)
    ]


async def test_a_file_read_again_in_another_zone_is_another_import_with_events_of_its_own(
    store: EventStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "f.csv", rate_lines(10))
    await import_funding(path, store, naming=BINANCE, east_s=0)
    done = await import_funding(path, store, naming=BINANCE)
    assert (done.accepted, done.events) == (10, 2)
    assert [e.format for e in await log_of(store, f"imports-{done.sha256}")] == [
        "funding_history:UTC",
        "funding_history:+03:00",
    ]


async def test_intervals_may_stand_in_the_file_row_by_row(tmp_path: Path) -> None:
    store = MemoryEventStore()
    lines = [
        "1672531200000,8,0.0001",
        "1672560000005,4,0.00005",
        "1672574400000,0,0.1",
        "1672588800000,x,0.1",
    ]
    path = write(tmp_path / "f.csv", lines, "calc_time,funding_interval_hours,last_funding_rate\n")
    done = await import_funding(path, store, naming=Naming(symbol="BTCUSDT"))
    assert rows_of(await log_of(store, "funding-binance-BTCUSDT")) == [
        (FIRST_NS, 10**14, 8),
        (FIRST_NS + 8 * HOUR_NS + 5_000_000, 5 * 10**13, 4),
    ]
    assert [r.reason for r in done.first_refusals] == [
        "interval '0' is not 1 to 168 hours",
        "interval 'x' cannot be read as hours",
    ]


async def test_an_import_that_dies_at_any_moment_goes_on_when_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline_files, "CHUNK", 150)
    rates = write(tmp_path / "f.csv", [*rate_lines(400), "bad"])
    news = write(tmp_path / "n.csv", [*news_lines(600), "bad"], NEWS_HEADER)
    calm = MemoryEventStore()
    await import_funding(rates, calm, naming=BINANCE)
    await import_news(news, calm)
    rng, deaths, calm_now = random.Random(5), 0, False

    def fail(moment: str) -> None:
        nonlocal deaths
        if not calm_now and rng.random() < 0.15:
            deaths += 1
            raise StoreUnavailable(moment)

    store = MemoryEventStore(fail=fail)
    for run in (partial(import_funding, rates, naming=BINANCE), partial(import_news, news)):
        for _ in range(1_000):
            try:
                await run(store=store)
                break
            except StoreUnavailable:
                continue
    calm_now = True
    assert deaths > 5
    for stream in (FUNDING, REFUSALS, "news-cryptonews", "refusals-news-cryptonews"):
        assert await log_of(store, stream) == await log_of(calm, stream) != []
    head = await store.head()
    await import_funding(rates, store, naming=BINANCE)
    await import_news(news, store)
    assert await store.head() == head


IMPORT = """
import asyncio, sys
from pathlib import Path
from alphapulse.adapters.files import headlines
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.import_fundamentals import import_news

headlines.CHUNK = 50

async def main():
    async with PostgresEventStore(sys.argv[1]) as store:
        await import_news(Path(sys.argv[2]), store)

asyncio.run(main())
"""


async def test_an_importer_killed_while_it_appends_loses_and_repeats_nothing(
    database_url: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "n.csv", [*news_lines(3_000), "bad"], NEWS_HEADER)
    async with PostgresEventStore(database_url) as store:
        for wanted in (2, 15):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", IMPORT, database_url, str(path)
            )
            while await store.version("news-cryptonews") < wanted and process.returncode is None:
                await asyncio.sleep(0.002)
            if process.returncode is None:
                process.kill()
            await process.wait()
        before = len(await headlines_of(store))
        assert 0 < before < 3_000
        done = await import_news(path, store)
        assert (done.accepted, done.duplicates, done.refused) == (3_000 - before, before, 1)
        found = await headlines_of(store)
        assert len(found) == len({h.key for h in found}) == 3_000
        assert len(await log_of(store, "refusals-news-cryptonews")) == 1


async def test_importers_of_one_file_at_once_end_with_every_row_once(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline_files, "CHUNK", 100)
    # All at one minute, so that batches of two importers meet in the same seconds.
    same = [line.replace(line.split(";")[0], "1-1-2022 00:00") for line in news_lines(600)]
    path = write(tmp_path / "n.csv", same, NEWS_HEADER)
    rates = write(tmp_path / "f.csv", rate_lines(500))
    await asyncio.gather(
        *(import_news(path, store) for _ in range(3)),
        *(import_funding(rates, store, naming=BINANCE) for _ in range(3)),
    )
    assert len(await headlines_of(store)) == 600
    assert len(rows_of(await log_of(store, FUNDING))) == 500


async def test_what_was_imported_answers_questions_about_then(store: EventStore, tmp_path: Path) -> None:
    await import_funding(write(tmp_path / "f.csv", rate_lines(200)), store, naming=BINANCE)
    await import_news(write(tmp_path / "n.csv", news_lines(400), NEWS_HEADER), store)
    rates, news = FundingState(), NewsState()
    for event in await log_of(store, FUNDING):
        rates = evolve(rates, event)
    for event in await log_of(store, "news-cryptonews"):
        news = evolve(news, event)
    first = rate_lines(1)[0]
    times = np.array([FIRST_NS - 1, FIRST_NS + 10_000_000], dtype=np.int64)
    rate = funding_at(rates, times).rate_8h
    assert np.isnan(rate[0])
    assert rate[1] == float(first.rpartition(",")[2])
    at = np.array([1_640_995_200_000_000_000 + 12 * HOUR_NS], dtype=np.int64)  # 2022-01-01 12:00
    assert sentiment_at(news, EVERY, at).count_24h[0] == 103  # one every 7 minutes


FILES = {
    "binance": ("2020-01-01_2024-01-01_funding_history.csv", 4_383, 0),
    "bybit": ("2021-01-01_2024-01-01_funding_history.csv", 3_285, 0),
    "gate": ("2020-01-01_2024-01-01_funding_history.csv", 4_290, 0),
    "htx": ("2021-01-01_2024-01-01_funding_history.csv", 3_284, 0),
    "kucoin": ("2021-01-01_2024-01-01_funding_history.csv", 3_285, 0),
    "mexc": ("2021-01-01_2024-01-01_funding_history.csv", 3_285, 0),
    "dydx": ("2022-01-01_2024-01-01_funding_history.csv.gz", 17_520, 0),
}


@pytest.mark.parametrize("venue", FILES)
async def test_the_real_funding_files_come_in_whole_on_full_hours_of_their_venue(venue: str) -> None:
    name, rows, refused = FILES[venue]
    path = data_file(f"funding/BTC-USDT_{venue}_{name}")
    store = MemoryEventStore()
    done = await import_funding(path, store, naming=Naming(venue=venue))
    assert (done.rows, done.accepted, done.refused) == (rows, rows, refused)
    times = np.array([t for t, _, _ in rows_of(await log_of(store, f"funding-{venue}-BTC_USDT"))])
    hours, late = np.divmod(times, HOUR_NS)
    assert late.max() < 60_000_000_000
    settled = np.bincount(hours % 24, minlength=24) / len(hours)
    # KuCoin settles at 4, 12, 20 h UTC, the other 8-hourly venues at 0, 8, 16 h.
    usual = range(24) if venue == "dydx" else (4, 12, 20) if venue == "kucoin" else (0, 8, 16)
    assert settled[list(usual)].sum() > 0.99
    assert (await import_funding(path, store, naming=Naming(venue=venue))).events == 0


@pytest.mark.parametrize("venue", FILES)
async def test_the_real_funding_files_begin_with_the_first_settlement_of_a_year_in_utc(venue: str) -> None:
    """They were asked for from a New Year on: read too far east, the first would be of the old year."""
    store = MemoryEventStore()
    name, *_ = FILES[venue]
    await import_funding(data_file(f"funding/BTC-USDT_{venue}_{name}"), store, naming=Naming(venue=venue))
    first, *_ = rows_of(await log_of(store, f"funding-{venue}-BTC_USDT"))[0]
    hour = PRESETS[venue].interval_hours // 2 if venue == "kucoin" else 0
    assert np.datetime64(first, "ns").astype("datetime64[m]") == np.datetime64(f"{name[:10]}T{hour:02}:00")


async def test_the_real_feather_of_freqtrade_comes_in_and_its_candles_do_not() -> None:
    folder = "funding/freqtrade_xrpusdt/XRP_USDT_USDT-"
    naming = Naming(venue="binance", symbol="XRP_USDT")
    store = MemoryEventStore()
    done = await import_funding(data_file(f"{folder}8h-funding_rate.feather"), store, naming=naming)
    assert (done.rows, done.accepted, done.format) == (91, 91, "freqtrade")
    rows = rows_of(await log_of(store, "funding-binance-XRP_USDT"))
    assert rows[0] == (1_637_193_600_017_000_000, 10**14, 8)
    done = await import_funding(data_file(f"{folder}1h-mark.feather"), MemoryEventStore(), naming=naming)
    assert (done.accepted, done.refused) == (0, 100)


async def test_the_real_headlines_come_in_whole_but_for_those_without_a_title() -> None:
    path = data_file("news/cryptonews.csv.gz")
    store = MemoryEventStore()
    done = await import_news(path, store)
    assert (done.rows, done.accepted, done.duplicates, done.refused) == (7_524, 7_496, 0, 28)
    assert {r.reason for e in await log_of(store, "refusals-news-cryptonews") for r in e.rows} == {
        "title is blank"
    }
    found = await headlines_of(store)
    fed = next(h for h in found if h.title == "Fed Raises Rates by 75 Basis Points")
    # The Fed spoke at 18:00 UTC, and no headline about it may be known before.
    assert fed.time == 1_655_316_120_000_000_000  # 2022-06-15 18:02 UTC
    assert sum("BTC" in h.subjects for h in found) > 3_000
    assert all(h.sentiment is not None for h in found)
    assert (await import_news(path, store)).events == 0


async def test_the_real_headlines_without_scores_come_in() -> None:
    store = MemoryEventStore()
    done = await import_news(data_file("news/cryptonews_2024-09_quorix.csv"), store)
    assert (done.rows, done.accepted, done.duplicates, done.refused) == (50, 46, 4, 0)  # 4 by two feeds
    assert all(h.sentiment is None and h.publisher for h in await headlines_of(store, "quorix"))


async def test_a_file_of_sentences_without_times_is_no_file_of_headlines() -> None:
    with pytest.raises(UnreadableFile, match=r"fit no known format|not UTF-8"):
        await import_news(data_file("news/financial_phrasebank_all-data.csv.gz"), MemoryEventStore())
