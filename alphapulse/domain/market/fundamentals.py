"""What is known of a market besides its trades: funding rates and headlines, as events.

Streams ``funding-{venue}-{symbol}`` and ``news-{source}``. Times are nanoseconds since 1970 UTC by the
venue's or publisher's clock, and are known times: a rate is known from its settlement on, a headline
from its publication on. The position in the log says when *we* knew: events are read in log order.
"""

from dataclasses import dataclass
from hashlib import sha256

import msgspec
import numpy as np

from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.instrument import Instrument

MINUTE_NS, HOUR_NS = 60_000_000_000, 3_600_000_000_000
MAX_INTERVAL_HOURS = 168

MAX_HEADLINES = 10_000  # in one stored event; importers bound the bytes as well
MAX_TITLE, MAX_URL, MAX_PUBLISHER = 500, 2_000, 100  # characters
MAX_SUBJECTS, MAX_SUBJECT = 16, 16
EVERY = "*"  # asked for as a subject: all headlines, whatever they are about


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FundingColumns:
    """n settlements; arrays of shape (n,), ordered by time, no minute twice.

    ``rate[i] * 10**-rate_exponent`` is the exact fraction of the position that longs pay shorts at
    ``time[i]``, for the ``interval_hours[i]`` before it. Below 0, shorts pay.
    """

    time: Int64s
    rate: Int64s
    interval_hours: Int64s
    rate_exponent: int

    def __len__(self) -> int:
        return len(self.time)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FundingColumns):
            return NotImplemented
        arrays = ("time", "rate", "interval_hours")
        return self.rate_exponent == other.rate_exponent and all(
            np.array_equal(getattr(self, a), getattr(other, a)) for a in arrays
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingObserved:
    """Funding rates of one instrument: 1 to 10,000 rows."""

    instrument: Instrument
    columns: FundingColumns


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """One published title. ``sentiment`` is somebody's score in [-1, 1]; None where nobody gave one."""

    time: int
    title: str
    url: str
    publisher: str
    subjects: tuple[str, ...]  # codes of assets, such as BTC; empty: about none in particular
    sentiment: float | None

    def __post_init__(self) -> None:
        if problem := headline_problem(self):
            raise ValueError(problem)

    @property
    def key(self) -> int:
        """What identifies it: its second, then 30 bits of its time and address (title where it has none)."""
        text = f"{self.time}\n{self.url or self.title}"
        digest = int(sha256(text.encode(errors="surrogatepass")).hexdigest()[:8], 16)
        return (self.time // 1_000_000_000 << 30) | (digest & ((1 << 30) - 1))


class HeadlinesObserved(msgspec.Struct, frozen=True, kw_only=True):
    """Headlines from one source, ordered by key: 1 to 10,000, none twice."""

    source: str
    headlines: tuple[Headline, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.headlines) <= MAX_HEADLINES:
            raise ValueError(f"a batch holds 1 to {MAX_HEADLINES} headlines, not {len(self.headlines)}")


def headline_problem(h: Headline) -> str | None:
    """What is out of bounds in ``h``; None when nothing is."""
    for name, text, most in (
        ("title", h.title, MAX_TITLE),
        ("url", h.url, MAX_URL),
        ("publisher", h.publisher, MAX_PUBLISHER),
    ):
        if len(text) > most:
            return f"{name} of {len(text)} characters, over {most}: {text[:60]!r}"
    if not h.title:
        return "title is blank"
    if h.sentiment is not None and not -1.0 <= h.sentiment <= 1.0:
        return f"sentiment {h.sentiment!r} is not between -1 and 1"
    if not 0 <= h.time < 1 << 62:
        return f"time {h.time} ns is out of range"
    if len(h.subjects) > MAX_SUBJECTS or any(not 1 <= len(s) <= MAX_SUBJECT for s in h.subjects):
        return f"subjects {h.subjects!r}: at most {MAX_SUBJECTS} of 1 to {MAX_SUBJECT} characters"
    return None


def settlement(time: Int64s) -> Int64s:
    """The minute of each time, rounded: what identifies a settlement, whose stamps jitter by milliseconds."""
    return (time + MINUTE_NS // 2) // MINUTE_NS


def news_stream(source: str) -> str:
    return f"news-{source}"


def news_desk(source: str) -> Instrument:
    """``source`` as refusals and ends of imports name it: the venue is ``news``.

    Raises:
        ValueError: ``source`` holds other characters than a-z, 0-9, _ or over 32 of them.
    """
    Instrument(source, "x")
    return Instrument("news", source)
