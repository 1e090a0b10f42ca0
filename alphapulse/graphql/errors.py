"""What a client is told when something goes wrong: its own mistakes in full, ours by an id only.

An error of ours (a bug, SQL text, a lost database) never leaves the process: the client gets an id,
the log has the id with the whole story.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import psycopg
from graphql import GraphQLError, GraphQLFormattedError

from alphapulse.domain.ports import StoreUnavailable

log = logging.getLogger("alphapulse.graphql")


class UserError(GraphQLError):
    """The client can do something about it. ``code`` is for programs, the message holds the values."""

    code = "BAD_USER_INPUT"
    status = 400

    def __init__(self, message: str, **extensions: Any) -> None:
        super().__init__(message, extensions={"code": self.code, **extensions})


class TooCostly(UserError):
    """The document asks for more than one request may."""

    code = "TOO_COSTLY"


class Unauthenticated(UserError):
    """No token, or not the right one."""

    code = "UNAUTHENTICATED"
    status = 401


class Forbidden(UserError):
    """The principal lacks a scope that a field needs."""

    code = "FORBIDDEN"
    status = 403


class RateLimited(UserError):
    """The principal asked for more per second than it may: wait ``retry_after_s``."""

    code = "RATE_LIMITED"
    status = 429


class TookTooLong(UserError):
    """The time for one request was over before the answer was ready."""

    code = "TIMEOUT"
    status = 504


class Unavailable(UserError):
    """The database does not answer, or too many requests are under way: try again."""

    code = "UNAVAILABLE"
    status = 503


def explain(error: GraphQLError) -> GraphQLError:
    """``error`` as the client may see it; what it may not see is logged under the id it gets."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return error
    if isinstance(cause, psycopg.errors.QueryCanceled | TimeoutError | asyncio.CancelledError):
        told: UserError = TookTooLong("the answer took longer than one request may")
    elif isinstance(cause, psycopg.OperationalError | StoreUnavailable):
        told = Unavailable("the database does not answer; try again")
    else:
        told = UserError("internal error")
    return _with_id(error, told, cause)


def _with_id(error: GraphQLError, told: UserError, cause: BaseException) -> GraphQLError:
    error_id = uuid4().hex
    where = ".".join(str(part) for part in error.path or ())
    log.error("error %s at %s: %s", error_id, where or "(root)", cause, exc_info=cause)
    code = "INTERNAL" if told.code == UserError.code else told.code
    extensions = {"code": code, "id": error_id}
    return GraphQLError(told.message, nodes=error.nodes, path=error.path, extensions=extensions)


def formatted(errors: Sequence[GraphQLError]) -> list[GraphQLFormattedError]:
    """The ``errors`` entry of an answer."""
    return [explain(error).formatted for error in errors]
