"""What a read model is to the runner: names of events, tables, a pure fold and a write.

One read model is one file: tables, fold, write and queries. The runner gives it every event of the
log whose name it folds, in position order, in batches of any size, and commits what ``write`` did
together with the new position. A read model is a function of the log: the same events in other
batches must give the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from psycopg import AsyncConnection
from sqlalchemy import Table

from alphapulse.domain.ports import Recorded, partition_of

State = TypeVar("State")
Changes = TypeVar("Changes")

# ``venue:symbol`` to the first and last minute (since 1970 UTC, inclusive) that a batch changed.
# None: anything may have changed. Empty: nothing that a reader could see.
Touched = Mapping[str, tuple[int, int]] | None


@dataclass(frozen=True, slots=True)
class Folded(Generic[State, Changes]):
    """What a batch amounts to. ``state`` takes the place of the old one once ``changes`` are committed."""

    state: State
    changes: Changes
    touched: Touched


class ReadModel(Protocol[State, Changes]):
    """See the module. Attributes are constants of the class; the object holds no state of its own."""

    @property
    def name(self) -> str:
        """In lower case with underscores: names its schema and its rows in ``projections``."""
        ...

    @property
    def code_version(self) -> int:
        """Goes up by one whenever the same events would give other rows: a rebuild is needed then."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """The stored names it folds. Events of other names are skipped without being decoded."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """Its tables. SQL never qualifies them: the search_path of the connection decides."""
        ...

    @property
    def partitioned(self) -> bool:
        """True when no row depends on events of two instruments: then parts of the log, divided by
        ``partition_key(stream)``, may be folded side by side by several processes."""
        ...

    @property
    def commutes(self) -> bool:
        """True when an event folded late, after its successors, gives the same rows as in its order.
        Else a parked event comes back by a rebuild."""
        ...

    async def load(self, db: AsyncConnection[Any]) -> State:
        """What the fold has to know of earlier events, read from its own tables.

        Called when a runner starts and after every failure; must give what ``fold`` carried along.
        """
        ...

    def fold(self, state: State, events: Sequence[Recorded]) -> Folded[State, Changes]:
        """The changes that ``events`` (1 or more, in position order) make. Pure; leaves ``state`` as it was.

        May run in a thread of its own. An exception means that some event is poison: the runner then
        finds it by halving the batch, and parks it.
        """
        ...

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        """Bring the tables up to ``changes`` inside the runner's transaction, which it leaves open."""
        ...


AnyReadModel = ReadModel[Any, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a fold stands. ``part``: only the streams of part k of n are its business; None: all are."""

    position: int
    part: tuple[int, int] | None = None

    def holds(self, stream: str) -> bool:
        return self.part is None or partition_of(stream, self.part[1]) == self.part[0]


@runtime_checkable
class Directed(Protocol):
    """A read model that some events tell what to make, whatever instrument it is made of.

    Such an event ends its batch: ``write`` may then make rows of all that came before it, and what the fold
    carries along is read anew. Where parts of the log are folded side by side, every part gets it; a row
    that all of them would write must come out the same, and be written last.
    """

    @property
    def directives(self) -> frozenset[str]:
        """The stored names of these events, among ``names``."""
        ...

    @property
    def batch_bytes(self) -> int:
        """The most payload in one batch, where the limits of the runner would allow more."""
        ...

    async def load_at(self, db: AsyncConnection[Any], scope: Scope) -> Any:
        """As ``ReadModel.load``, of a fold that stands at ``scope``; other parts may be further on."""
        ...


def directives_of(model: AnyReadModel) -> frozenset[str]:
    return model.directives if isinstance(model, Directed) else frozenset()


async def load_at(model: AnyReadModel, db: AsyncConnection[Any], scope: Scope) -> Any:
    """What the fold has to know of earlier events, at ``scope``."""
    return await (model.load_at(db, scope) if isinstance(model, Directed) else model.load(db))
