"""The composition root: Settings in, running parts out. The only module that builds things.

A role is a coroutine that works until ``stop`` is set, then returns; an exception from it is a failure. What
a role needs from outside may be away for a while: it waits and tries again by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from alphapulse.settings import Settings

Role = Callable[[Settings, asyncio.Event], Awaitable[None]]

ROLES: Mapping[str, Role] = {}  # in the order in which they start; they stop the other way round
