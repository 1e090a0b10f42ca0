"""The composition root: Settings in, running parts out. The only module that builds things.

A role is a coroutine that works until ``stop`` is set, then returns; an exception from it is a failure. What
a role needs from outside may be away for a while: it waits and tries again by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.settings import Settings, SettingsError

Role = Callable[[Settings, asyncio.Event], Awaitable[None]]

ROLES: Mapping[str, Role] = {}  # in the order in which they start; they stop the other way round


def nats_options(settings: Settings) -> NatsOptions:
    """How to reach NATS.

    Raises:
        SettingsError: its URL is not set.
    """
    if settings.nats_url is None:
        raise SettingsError("ALPHAPULSE_NATS_URL is not set: set it, or use `alphapulse up`")
    return NatsOptions(
        servers=tuple(server.strip() for server in settings.nats_url.split(",")),
        user=settings.nats_user,
        password=settings.nats_password,
        token=settings.nats_token,
        credentials=settings.nats_credentials,
        ca=settings.nats_ca,
        cert=settings.nats_cert,
        key=settings.nats_key,
    )
