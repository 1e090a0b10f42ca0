"""Who asks, and what it may see. A field without a scope is closed to everybody.

Every field of ours carries ``metadata=READ`` (or another scope): ``limits`` refuses a document that
selects a field whose scope the principal lacks, before anything is executed.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alphapulse.graphql.errors import Unauthenticated

READ: dict[Any, Any] = {"scope": "read"}
READ_PAGE: dict[Any, Any] = {**READ, "size": "page"}  # the list inside a page: see limits


@dataclass(frozen=True, slots=True)
class Principal:
    """``name`` is what limits count by; ``scopes`` say which fields are open."""

    name: str
    scopes: frozenset[str]


Authenticate = Callable[[str | None], Principal]  # raises Unauthenticated

_READER = frozenset({"read"})


def anyone(_token: str | None) -> Principal:
    """Everybody may read: the API has no token and listens on a trusted network."""
    return Principal("anyone", _READER)


def holder_of(token: str) -> Authenticate:
    """Only who shows ``token`` may read."""
    expected = token.encode()

    def authenticate(shown: str | None) -> Principal:
        if shown is None:
            raise Unauthenticated("this API needs a token: send it as 'Authorization: Bearer TOKEN'")
        if not hmac.compare_digest(shown.encode(), expected):
            raise Unauthenticated("this is not the token of this API")
        return Principal("token", _READER)

    return authenticate


def bearer(authorization: str | None) -> str | None:
    """The token in an ``Authorization: Bearer …`` header; None without one."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def bearer_of_payload(payload: Mapping[str, Any]) -> str | None:
    """The token in the payload of ``connection_init``: ``authorization`` as in HTTP, or ``token``."""
    lowered = {str(key).lower(): value for key, value in payload.items()}
    token = bearer(_text(lowered.get("authorization")))
    return token or _text(lowered.get("token"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
