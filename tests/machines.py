"""State machines of Hypothesis whose rules await: each has an event loop of its own.

CI runs a few examples of each; ``HYPOTHESIS_PROFILE=thorough`` twenty times as many.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

Answer = TypeVar("Answer")


class AsyncMachine(RuleBasedStateMachine):
    """``self.do(coroutine)`` runs it to its end on the machine's loop."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()

    def do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(asyncio.wait_for(work, 30))

    def teardown(self) -> None:
        self._runner.close()


def run_machine(make: Callable[[], RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """``examples`` in CI, as many times more as the profile has more than the default."""
    factor = settings.default.max_examples / 100 if settings.default else 1
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=max(1, int(examples * factor)),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
