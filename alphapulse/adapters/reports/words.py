"""Numbers and times as a reader wants them. None is never a zero: it is said to be unknown."""

from datetime import UTC, datetime

UNKNOWN = "\N{EN DASH}"
SMALL = 1e-5
UNITS = {
    "ratio": "",
    "probability": "",
    "r": "R",
    "per_year": "annualised",
    "count": "",
    "days": "days",
    "bps": "bps",
}


def number(value: float | None, digits: int = 4) -> str:
    """``value`` with so many significant digits, thousands apart; with an exponent only below SMALL."""
    if value is None or value != value:
        return UNKNOWN
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    if abs(value) < SMALL:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:.{digits}g}"
    return f"{value:.8f}".rstrip("0") if "e" in text else text


def share(value: float | None, digits: int = 2) -> str:
    return UNKNOWN if value is None or value != value else f"{value * 100:.{digits}f} %"


def signed(value: float | None, digits: int = 2) -> str:
    return UNKNOWN if value is None or value != value else f"{value * 100:+.{digits}f} %"


def moment(ns: int) -> str:
    """Minutes, UTC; 0 is no time."""
    if not ns:
        return UNKNOWN
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M UTC")


def day(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d") if ns else UNKNOWN


def sentence(text: str) -> str:
    """`` Text.`` of ``text``, to stand behind other sentences; nothing of nothing."""
    return f" {text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def plural(count: float, what: str, many: str = "") -> str:
    return f"{number(count)} {what if count == 1 else many or what + 's'}"
