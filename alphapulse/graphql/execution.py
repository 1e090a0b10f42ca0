"""Runs prepared operations on graphql-core and writes the answers as JSON bytes.

Strawberry defines the schema; its own transports and extensions stay out of the hot path. Columns are
``orjson.Fragment`` values that end up in the bytes untouched.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationType, execute
from graphql.execution import Executor
from graphql.execution.execute import (
    assume_not_awaitable,
    create_source_event_stream,
    execute_subscription_event,
)

from alphapulse.graphql.access import Principal
from alphapulse.graphql.context import Context
from alphapulse.graphql.documents import Documents, Operation, Refused
from alphapulse.graphql.errors import TookTooLong, Unavailable, UserError, formatted
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.limits import Limits


class Engine:
    """One schema under one set of limits."""

    def __init__(self, schema: strawberry.Schema, limits: Limits) -> None:
        # graphql-core's schema is what Strawberry itself hands to graphql-core; it has no public name there.
        self._schema = schema._schema  # noqa: SLF001
        self.limits = limits
        self._documents = Documents(self._schema, limits)
        self._turn = _Turn(limits.concurrent_requests, limits.waiting_requests)

    def prepare(
        self, text: str, variables: Mapping[str, Any], name: str | None, principal: Principal
    ) -> Operation:
        """See ``Documents.prepare``. Nothing runs yet."""
        return self._documents.prepare(text, variables, name, principal)

    async def answer(self, operation: Operation, context: Context) -> bytes:
        """The answer to a query as JSON, ``errors`` included.

        Raises:
            Refused: it took too long, or too many requests are under way.
        """
        if operation.type is not OperationType.QUERY:
            raise Refused(UserError("subscriptions need a WebSocket with the protocol graphql-transport-ws"))
        async with self._turn.taken():
            try:
                async with asyncio.timeout(self.limits.execution_s):
                    return encode(await self._execute(operation, context))
            except TimeoutError:
                limit_s = self.limits.execution_s
                raise Refused(TookTooLong(f"the answer took longer than {limit_s:g} s")) from None

    async def _execute(self, operation: Operation, context: Context) -> ExecutionResult:
        result = execute(
            self._schema,
            operation.document,
            context_value=context,
            variable_values=dict(operation.variables),
            operation_name=operation.name,
        )
        return await result if isawaitable(result) else result

    async def subscribe(self, operation: Operation, context: Context) -> tuple[Watch, Executor[Any]]:
        """The stream that a subscription asks for, and what turns each of its updates into a message.

        Raises:
            Refused: the arguments do not fit, or the stream cannot be opened.
        """
        executor = Executor.build(
            self._schema,
            operation.document,
            context_value=context,
            raw_variable_values=dict(operation.variables),
            operation_name=operation.name,
        )
        if isinstance(executor, list):
            raise Refused(*executor)
        stream = create_source_event_stream(executor)
        stream = await stream if isawaitable(stream) else stream
        if isinstance(stream, ExecutionResult):
            raise Refused(*(stream.errors or ()))
        assert isinstance(stream, Stream), f"a subscription resolves to {type(stream)}"
        executor.is_awaitable = assume_not_awaitable  # see ``message``; asking of each value costs a tenth
        return stream.watch, executor


def message(executor: Executor[Any], payload: object) -> str:
    """The result of one update of a subscription as JSON text.

    Resolvers below a subscription are synchronous: an update carries all that may be selected.
    """
    result = execute_subscription_event(executor.build_per_event_executor(payload))
    assert isinstance(result, ExecutionResult), "a resolver below a subscription is asynchronous"
    return encode(result).decode()


def encode(result: ExecutionResult) -> bytes:
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = formatted(result.errors)
    return orjson.dumps(answer)


def encode_errors(errors: tuple[GraphQLError, ...]) -> bytes:
    """The answer to a request that was refused before it ran: no ``data`` at all."""
    return orjson.dumps({"errors": formatted(errors)})


class _Turn:
    """Lets ``running`` requests run at a time and ``waiting`` wait; refuses more."""

    def __init__(self, running: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(running)
        self._places = running + waiting
        self._taken = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        if self._taken >= self._places:
            raise Refused(Unavailable(f"{self._taken} requests are under way or waiting; try again"))
        self._taken += 1
        try:
            async with self._free:
                yield
        finally:
            self._taken -= 1
