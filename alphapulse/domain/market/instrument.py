"""Which market a trade belongs to, and the names of its streams.

An instrument is a venue and that venue's own symbol, lower- and as-is: ``bitflyer:BTC_JPY``.
"""

import re
from dataclasses import dataclass

_VENUE = re.compile(r"[a-z0-9_]{1,32}")
_SYMBOL = re.compile(r"[A-Za-z0-9_./]{1,64}")


@dataclass(frozen=True, slots=True, order=True)
class Instrument:
    venue: str
    symbol: str

    def __post_init__(self) -> None:
        if not _VENUE.fullmatch(self.venue):
            raise ValueError(f"venue {self.venue!r} needs 1-32 of a-z, 0-9, _")
        if not _SYMBOL.fullmatch(self.symbol):
            raise ValueError(f"symbol {self.symbol!r} needs 1-64 of A-Z, a-z, 0-9, _ . /")

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}"

    @classmethod
    def parse(cls, text: str) -> "Instrument":
        """The instrument written ``venue:symbol``.

        Raises:
            ValueError: there is no colon, or a part holds other characters.
        """
        venue, colon, symbol = text.partition(":")
        if not colon:
            raise ValueError(f"instrument {text!r} is not written venue:symbol, such as bitflyer:BTC_JPY")
        return cls(venue, symbol)

    def stream(self, category: str) -> str:
        """The stream of this instrument in ``category``: trades, bars, feed, refusals …"""
        return f"{category}-{self.venue}-{self.symbol}"
