"""What a read model is to the runner: names of events, tables, a pure fold and a write.

One read model is one file: tables, fold, write and queries. The runner gives it every event of the
log whose name it folds, in position order, in batches of any size, and commits what ``write`` did
together with the new position. A read model is a function of the log: the same events in other
batches must give the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from psycopg import AsyncConnection
from sqlalchemy import Table

from alphapulse.domain.ports import Recorded

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
