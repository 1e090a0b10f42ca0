"""Which headlines of a file are accepted, which are repeats, which are refused and why.

Pure. A headline is identified by when it was published and its address (its title where it has none);
title, subjects and sentiment are its values. Two feeds that pass one article on are no difference, so
of its publishers the first stays.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.events import RefusedRow
from alphapulse.domain.market.fundamentals import MAX_SUBJECT, MAX_SUBJECTS, Headline
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.judging import MAX_RAW_TEXT, TIME_HI, TIME_LO, Bools

MAX_BATCH_BYTES = 200_000  # in one event: some 2,000 headlines at most
_FRAME_BYTES = 100  # around the headlines of an event

# What files call an asset. Words that name none (altcoin, blockchain, defi, nft) stand for no subject.
SUBJECTS = {
    "bitcoin": "BTC", "ethereum": "ETH", "ether": "ETH", "ripple": "XRP", "litecoin": "LTC",
    "cardano": "ADA", "solana": "SOL", "dogecoin": "DOGE", "polkadot": "DOT", "avalanche": "AVAX",
    "binancecoin": "BNB", "tron": "TRX", "chainlink": "LINK", "monero": "XMR", "stellar": "XLM",
}  # fmt: skip
_CODE = re.compile(rf"[A-Z0-9]{{2,{MAX_SUBJECT}}}")
_POLARITY = re.compile(r"\{.*['\"]polarity['\"]\s*:\s*([^,}\s]+)\s*[,}].*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHeadline:
    """One row as text. ``time`` is in ns UTC; None where ``problem`` says why the row must be refused."""

    row: int
    raw: str
    problem: str | None
    time: int | None
    title: str
    url: str
    publisher: str
    subject: str
    sentiment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHeadlines:
    """Rows of one source, in file order; ``instrument`` names it in refusals (fundamentals.news_desk)."""

    instrument: Instrument
    headlines: Sequence[RawHeadline]

    def __len__(self) -> int:
        return len(self.headlines)

    @property
    def row(self) -> Int64s:
        return np.array([h.row for h in self.headlines], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedHeadlines:
    """Headlines that passed, ordered by key, none twice; ``raw`` is the row of each."""

    headlines: tuple[Headline, ...]
    raw: tuple[RawHeadline, ...]
    keys: Int64s

    def __len__(self) -> int:
        return len(self.headlines)

    def take(self, rows: Bools) -> "AcceptedHeadlines":
        at = np.flatnonzero(rows).tolist()
        return AcceptedHeadlines(
            headlines=tuple(self.headlines[i] for i in at),
            raw=tuple(self.raw[i] for i in at),
            keys=self.keys[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineVerdict:
    accepted: AcceptedHeadlines
    duplicates: int
    refused: tuple[RefusedRow, ...]


def judge_headlines(raw: RawHeadlines) -> HeadlineVerdict:
    """Judge each row by itself, then rows with one identity: the lowest row wins."""
    passed: dict[int, tuple[Headline, RawHeadline]] = {}
    refused: list[RefusedRow] = []
    duplicates = 0
    for row in raw.headlines:
        try:
            headline = _headline(row)
        except ValueError as error:
            refused.append(_refused(row, str(error)))
            continue
        first = passed.setdefault(headline.key, (headline, row))
        if first[1] is row:
            continue
        if _same(first[0], headline):
            duplicates += 1
        else:
            refused.append(_conflict(row, f"row {first[1].row}"))
    keys = sorted(passed)
    accepted = AcceptedHeadlines(
        headlines=tuple(passed[key][0] for key in keys),
        raw=tuple(passed[key][1] for key in keys),
        keys=np.array(keys, dtype=np.int64),
    )
    return HeadlineVerdict(accepted=accepted, duplicates=duplicates, refused=tuple(refused))


def headlines_against(verdict: HeadlineVerdict, stored: Sequence[tuple[Headline, ...]]) -> HeadlineVerdict:
    """Take out what the log holds already: identical headlines are duplicates, others are refused."""
    accepted = verdict.accepted
    known = {headline.key: headline for batch in stored for headline in batch}
    found = [known.get(key) for key in accepted.keys.tolist()]
    rows = list(zip(accepted.headlines, accepted.raw, found, strict=True))
    conflicts = [
        _conflict(row, f"{other.title!r}, sentiment {other.sentiment}")
        for headline, row, other in rows
        if other is not None and not _same(other, headline)
    ]
    repeats = sum(other is not None for other in found) - len(conflicts)
    return HeadlineVerdict(
        accepted=accepted.take(np.array([other is None for other in found], dtype=np.bool_)),
        duplicates=verdict.duplicates + repeats,
        refused=(*verdict.refused, *conflicts),
    )


def headline_batches(accepted: AcceptedHeadlines) -> Iterator[tuple[tuple[Headline, ...], int]]:
    """``accepted`` in batches of at most MAX_BATCH_BYTES, each with the lowest file row."""
    begin, size = 0, _FRAME_BYTES
    for i, headline in enumerate(accepted.headlines):
        more = len(msgspec.json.encode(headline)) + 1  # and a comma
        if i > begin and size + more > MAX_BATCH_BYTES:
            yield _batch(accepted, begin, i)
            begin, size = i, _FRAME_BYTES
        size += more
    if len(accepted) > begin:
        yield _batch(accepted, begin, len(accepted))


def sentiment_of(text: str) -> float | None:
    """The score in ``text``: a number, or the polarity of a dict as TextBlob's users print it; None if blank.

    Raises:
        ValueError: it is neither.
    """
    if not text.strip():
        return None
    polarity = _POLARITY.fullmatch(text.strip())
    try:
        return float(polarity[1] if polarity else text)
    except ValueError:
        raise ValueError(f"sentiment {text[:200]!r} is neither a number nor holds a polarity") from None


def subjects_of(text: str) -> tuple[str, ...]:
    """Codes of the assets that ``text`` names, by SUBJECTS or as codes themselves; other words fall away."""
    codes: dict[str, None] = {}
    for word in re.split(r"[\s,;|/]+", text):
        code = SUBJECTS.get(word.lower(), word if _CODE.fullmatch(word) else None)
        if code is not None:
            codes[code] = None
    return tuple(codes)[:MAX_SUBJECTS]


def _headline(row: RawHeadline) -> Headline:
    if row.problem is not None or row.time is None:
        raise ValueError(row.problem or "time is blank")
    if not TIME_LO <= row.time < TIME_HI:
        raise ValueError(f"time {np.datetime64(row.time, 'ns')} is not between 2009 and 2100")
    return Headline(
        time=row.time,
        title=" ".join(row.title.split()),
        url=row.url.strip(),
        publisher=" ".join(row.publisher.split()),
        subjects=subjects_of(row.subject),
        sentiment=sentiment_of(row.sentiment),
    )


def _batch(accepted: AcceptedHeadlines, begin: int, end: int) -> tuple[tuple[Headline, ...], int]:
    return accepted.headlines[begin:end], min(row.row for row in accepted.raw[begin:end])


def _same(a: Headline, b: Headline) -> bool:
    return (a.title, a.subjects, a.sentiment) == (b.title, b.subjects, b.sentiment)


def _refused(row: RawHeadline, reason: str) -> RefusedRow:
    return RefusedRow(row=row.row, reason=reason[:1_000], raw=row.raw[:MAX_RAW_TEXT])


def _conflict(row: RawHeadline, other: str) -> RefusedRow:
    return _refused(row, f"the headline was accepted before with other values: {other}")
