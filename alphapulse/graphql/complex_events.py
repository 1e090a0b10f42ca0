"""Complex events over GraphQL: a line of text in, the bars that matched it out, with what made them match."""

from typing import Annotated

import strawberry

from alphapulse.domain.analysis.complex_event_text import parse_event
from alphapulse.domain.analysis.complex_events import BadEvent
from alphapulse.domain.analysis.registry import BadParameter
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf, answered, position_of
from alphapulse.graphql.candles import DEFAULT_LAST, Info, Timeframe, known_instrument
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.indicators import rows_asked, span_of
from alphapulse.graphql.limits import Arguments
from alphapulse.graphql.scalars import Position, Time
from alphapulse.projections import complex_event_queries
from alphapulse.projections.complex_event_queries import Match, Matched


@strawberry.type(description="One match of a complex event.")
class ComplexEventMatch:
    steps: list[Time] = strawberry.field(
        description="Open time of the bar of each step.", metadata={**READ, "size": 4}
    )
    known_time: Time = strawberry.field(
        description="When the last of them was known to have ended.", metadata=READ
    )
    source_position: Position = strawberry.field(metadata=READ)
    reasons: list[str] = strawberry.field(
        description="Each step with the values that made it true; bars count from the first looked at.",
        metadata={**READ, "size": 4},
    )


@strawberry.type(description="Matches of a complex event, oldest first.")
class ComplexEventList:
    event: str = strawberry.field(description="In its complete form.", metadata=READ)
    position: Position = strawberry.field(description="What a log cut here would answer.", metadata=READ)
    bars: int = strawberry.field(description="At which a match may end.", metadata=READ)
    matches: list[ComplexEventMatch] = strawberry.field(metadata={**READ, "size": "page"})


def _cost(arguments: Arguments) -> int:
    return max(10, rows_asked(arguments) // 10)


def _match(found: Matched, match: Match) -> ComplexEventMatch:
    bars, last = found.bars, match.rows[-1]
    starts = bars.start
    return ComplexEventMatch(
        steps=[Time(int(starts[row]) * MINUTE_NS) for row in match.rows],
        known_time=Time(int(bars.known_time[last])),
        source_position=Position(int(bars.position[last])),
        reasons=list(match.reasons),
    )


@strawberry.type
class ComplexEventQuery:
    @strawberry.field(
        description="Where `event` happened, such as `rsi < 30 then rsi > 50 within 5 bars "
        "while adx.adx > 20` (see docs/complex-events.md), at bars that begin in [`from`, `to`), "
        "of those the `last` ones; "
        f"without `from` and `last` the last {DEFAULT_LAST}.",
        metadata={**READ, "size": _cost},
    )
    async def complex_events(
        self,
        info: Info,
        instrument: str,
        timeframe: Timeframe,
        event: str,
        from_: Annotated[Time | None, strawberry.argument(name="from")] = None,
        to: Time | None = None,
        last: int | None = None,
        as_of: AsOf | None = None,
    ) -> ComplexEventList:
        try:
            wanted = parse_event(event)
        except (BadEvent, BadParameter) as error:
            raise UserError(str(error)) from None
        services, span = info.context.services, span_of(from_, to, last)
        position = await position_of(services.store, as_of)
        async with answered(), services.reads.connection() as db:
            found = await complex_event_queries.complex_events(
                db, known_instrument(instrument), timeframe.value, wanted, span, as_of=position
            )
        return ComplexEventList(
            event=str(wanted),
            position=Position(found.position),
            bars=len(found.bars) - found.lead,
            matches=[_match(found, match) for match in found.matches],
        )
