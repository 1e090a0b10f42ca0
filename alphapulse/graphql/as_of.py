"""Questions to the past: what a log that ended at some position, or at some time, would have answered."""

from datetime import datetime

import strawberry

from alphapulse.domain.ports import EventStore
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.scalars import Position, Time, datetime_of
from alphapulse.projections.candle_queries import NotYetFolded, QueryTooLarge


@strawberry.input(
    one_of=True,
    description="A moment of the log: a position, or a recorded time (the store's clock). "
    "The answer is what a log cut there would give.",
)
class AsOf:
    position: Position | None = strawberry.UNSET
    recorded_at: Time | None = strawberry.UNSET


class NotYet(UserError):
    """The read model has not come as far as was asked for: ask again a little later."""

    code = "NOT_YET"
    status = 503


class TooLarge(UserError):
    """The answer, or the way to it, is over a limit."""

    code = "TOO_LARGE"


async def position_of(store: EventStore, as_of: AsOf | None) -> int | None:
    """The position that ``as_of`` means; None for now."""
    if as_of is None:
        return None
    if isinstance(as_of.position, int):
        return as_of.position
    assert isinstance(as_of.recorded_at, int), "a one-of input has exactly one field"
    moment: datetime = datetime_of(as_of.recorded_at)
    return await store.position_at(moment)


class answered:  # noqa: N801  reads as a phrase: async with answered():
    """Turns what read models refuse into what the client is told."""

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, NotYetFolded):
            raise NotYet(str(error)) from None
        if isinstance(error, QueryTooLarge):
            raise TooLarge(str(error)) from None
