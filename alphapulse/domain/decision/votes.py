"""What a voter sees and what it says: rows of closed bars through the known-time cursor, a direction each.

A voter is a function of rows. A row is one instrument's bar that has just closed, with the features that
were known when it closed, and nothing later: the engine that computes features never holds a later bar. So
a voter has no memory and no clock. One call takes one row a market, live, or thousands of rows of history:
row i of the answer depends on row i alone, and how rows are handed in changes no byte of it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.models import FittedModel

Int8s = NDArray[np.int8]

LONG, SHORT, ABSTAINS = 1, -1, 0

# What a view may hold besides features of bars, known by the row's known time; NaN where it is not there.
CONTEXT = (
    "funding_rate",  # fraction per 8 h, the last one settled
    "funding_mean",  # decayed mean of the rates before it
    "funding_deviation",  # decayed standard deviation of them
    "sentiment",  # decayed mean score of headlines on the instrument's base asset, -1 to 1
    "headlines",  # how many in the last 24 h
    "reference_beta",  # of this market's returns to the strategy's reference market
    "reference_residual",  # last return less beta times the reference's, in its own standard deviations
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class View:
    """R rows of one timeframe. ``values`` (R, F) under ``columns``; prices in quote currency.

    ``bars`` (R, 5) is open, high, low, close, volume of the closed bars. NaN stands for what is not there.
    """

    timeframe: int  # minutes
    columns: Mapping[str, int]
    values: Floats
    bars: Floats
    context: Mapping[str, Floats]  # by a name of CONTEXT, (R,)
    known_time: Int64s  # (R,) ns, the venue's clock when the bar was known to have ended

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> Floats:
        """The feature or context called ``name``, (R,)."""
        if name in self.columns:
            column: Floats = self.values[:, self.columns[name]]
            return column
        return self.context[name]

    def take(self, rows: "NDArray[np.int64] | slice") -> "View":
        """The same view, only ``rows``."""
        return View(
            timeframe=self.timeframe,
            columns=self.columns,
            values=self.values[rows],
            bars=self.bars[rows],
            context={name: values[rows] for name, values in self.context.items()},
            known_time=self.known_time[rows],
        )


Reasons = Callable[[int], Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vote:
    """For each row a direction (LONG, SHORT or ABSTAINS) and a score from 0 to 1, 0 where it abstains.

    ``reasons(row)`` says in words, with the values, why; it is asked only of rows that become decisions.
    ``version`` is that of the voter's rule: it goes up when the same rows would give other votes.
    """

    direction: Int8s
    score: Floats
    reasons: Reasons
    version: int

    @classmethod
    def of(cls, signed: Floats, reasons: Reasons, version: int) -> "Vote":
        """From one number a row, -1 (sure of a fall) to 1 (sure of a rise); 0 and NaN abstain."""
        # np.nan_to_num and np.clip say the same, and take 8 times as long for the rows of a live bar close.
        sound = np.minimum(np.maximum(np.where(np.isnan(signed), 0.0, signed), -1.0), 1.0)
        return cls(
            direction=np.sign(sound).astype(np.int8), score=np.abs(sound), reasons=reasons, version=version
        )


class Voter(Protocol):
    """See the module. Attributes are constants."""

    @property
    def version(self) -> int: ...

    @property
    def inputs(self) -> Sequence[Feature]:
        """The features that it looks at, each called as ``View`` calls it."""
        ...

    def vote(self, view: View) -> Vote: ...


class BadVoter(ValueError):
    """No such voter, parameters that it does not take, or a model that does not fit it: holds the values."""


class BadVoterModel(BadVoter):
    """A fitted model that this voter cannot vote with: its seat abstains until there is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of voter. ``make`` raises BadVoter where parameters or the model do not fit.

    ``model`` is the kind of fitted model that it needs; empty: none. One that needs a model abstains, with
    a reason, while there is none: the engine does not make it before. ``version`` is that of the voters
    that ``make`` makes.
    """

    name: str  # group.name, such as technical.momentum
    title: str
    parameters: Mapping[str, float] = field(default_factory=dict)  # defaults
    model: str = ""
    version: int = 1
    make: Callable[[Mapping[str, float], FittedModel | None], Voter]

    def made(self, given: Mapping[str, float], model: FittedModel | None = None) -> Voter:
        """The voter with ``given`` parameters, defaults for the rest."""
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            takes = ", ".join(self.parameters) or "no parameters"
            raise BadVoter(f"{self.name} has no {', '.join(unknown)}: it takes {takes}")
        if self.model and (model is None or model.kind != self.model):
            found = "none" if model is None else f"{model.name} of kind {model.kind}"
            raise BadVoterModel(f"{self.name} needs a model of kind {self.model}, there is {found}")
        return self.make({**self.parameters, **given}, model)


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> Kind:
    """Join the voters that a strategy may choose from. The last one of a name counts no more than the first.

    Raises:
        BadVoter: another kind has that name.
    """
    known = _kinds.setdefault(kind.name, kind)
    if known is not kind and (known.make.__module__, known.title) != (kind.make.__module__, kind.title):
        raise BadVoter(f"two kinds of voters are called {kind.name}")
    return kind


@cache
def _discover() -> None:
    package: Any = importlib.import_module("alphapulse.domain.decision.voters")
    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{found.name}")


def kinds() -> Mapping[str, Kind]:
    """All kinds of voters, by name in alphabetical order: ours, and what was registered besides."""
    _discover()
    return dict(sorted(_kinds.items()))


def kind_of(name: str) -> Kind:
    """Raises BadVoter."""
    try:
        return kinds()[name]
    except KeyError:
        raise BadVoter(f"no kind of voter is called {name!r}: there are {', '.join(kinds())}") from None
