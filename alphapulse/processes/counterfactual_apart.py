"""A counterfactual in a process of its own, as the API has it done. Nothing is recorded, nor its trial."""

from collections.abc import Callable

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.backtest.counterfactuals import Asked, Counterfactual, Told
from alphapulse.domain.backtest.variants import BadVariant
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.signals.engine import CannotRun
from alphapulse.graphql.jobs import WorkRefused
from alphapulse.processes.backtest_files import NothingToRead
from alphapulse.processes.counterfactual import counterfactual
from alphapulse.processes.extensions import load_voters
from alphapulse.processes.one_off import in_a_process


async def counterfactual_apart(
    database_url: str, asked: Asked, tell: Callable[[Told], None]
) -> Counterfactual:
    """What would have become of the strategy; cancelling ends the work at once.

    Raises:
        WorkRefused: there is no such strategy, or the change is none; the message is for whoever asked.
        WorkFailed: the process ended without a result.
    """
    found = await in_a_process(
        _work,
        database_url,
        asked,
        tell,
        refusals=(BadVariant, UnknownStrategy, CannotRun, NothingToRead),
        refused=WorkRefused,
    )
    assert isinstance(found, Counterfactual)
    return found


async def _work(database_url: str, asked: Asked, tell: Callable[[Told], None]) -> Counterfactual:
    load_voters()
    async with PostgresEventStore(database_url, readers=2) as store:
        return (await counterfactual(store, asked, tell)).result
