"""The decision engine of one part of the log: market events in, decisions, outcomes and calibrations out.

Conceptually one event at a time, and however the log is cut into calls, or the engine put away and restored
in between, the outputs are the same. What is state free (bars, features, votes) is computed for all events
of a call together; what learns goes step by step in the order of the log (engine_kernel.py). A refit is
due at the very step that resolves enough candidates; the next row is decided by the new table.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from alphapulse.domain.analysis.closing import Closed, Fed, close_bars
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.decision import consensus as c
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import partition_of
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals import engine_noted
from alphapulse.domain.signals import engine_rows as rows_
from alphapulse.domain.signals import ticks as t
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.engine_clerk import Clerk
from alphapulse.domain.signals.engine_contexts import ContextSource
from alphapulse.domain.signals.engine_decks import Deck
from alphapulse.domain.signals.engine_events import Block, ExitSuggested, Output, Outputs, Told
from alphapulse.domain.signals.engine_fit import fit
from alphapulse.domain.signals.engine_kernel import run
from alphapulse.domain.signals.engine_noted import Noted, Table
from alphapulse.domain.signals.engine_rows import CannotRun, Sheet
from alphapulse.domain.signals.engine_said import Said
from alphapulse.domain.signals.engine_state import (
    EngineState,
    MarketState,
    grown,
    new_history,
    new_market,
    new_part,
)
from alphapulse.domain.signals.engine_steps import MarketSteps, Rows, joined, rules_of, stretches
from alphapulse.domain.signals.outcome import GAP_TARGET, TARGET
from alphapulse.domain.signals.ticks import Ticks, market_ticks

__all__ = ["CannotRun", "ContextSource", "Engine", "EngineState", "ExitSuggested", "Output", "Outputs"]

SIDE_BY_SIDE = 4  # markets from which on their history is worked on together


class Engine:
    """See the module. Holds arrays that it works in: one thread at a time.

    An exception half-way leaves it useless: go back to a state that was kept.
    """

    def __init__(
        self,
        strategy: StrategyDefined,
        *,
        models: Mapping[str, FittedModel] | None = None,
        versions: Mapping[str, int] | None = None,
        part: int = 0,
        contexts: Sequence[ContextSource] = (),
        state: EngineState | None = None,
    ) -> None:
        """
        ``models`` by name, and their ``versions``, for seats that need one: without it they abstain.
        ``state`` is not changed.

        Raises:
            CannotRun: this code cannot make the features or voters of ``strategy``, or there are too many.
            BadState: ``state`` is of another strategy.
        """
        self.strategy, self.part, self.contexts = strategy, part, tuple(contexts)
        self._mine: dict[str, bool] = {}
        self.models, self.versions = dict(models or {}), dict(versions or {})
        self.timeframes = tuple(sorted(strategy.timeframes))
        self._seats = rows_.seats_of(strategy, self.models, self.versions)
        self._lookouts, digests = rows_.lookouts(strategy, self._seats)
        self._decks = {key: Deck(lookout.plan, key[1]) for key, lookout in self._lookouts.items()}
        self._adaptations = rows_.Adaptations(strategy)
        self._rules = rules_of(strategy, self.timeframes)
        self._clerk = Clerk(strategy, self._seats, self._rules, self.timeframes)
        self._notes = k.new_notes(len(self._seats), len(strategy.geometries))
        self._state = self._begun(state)
        self._table = Table.of(self._state.part)
        self._forget_other_sets(digests)

    def _begun(self, state: EngineState | None) -> EngineState:
        learning, voters = self.strategy.learning, len(self._seats)
        owner = f"{self.strategy.name}.{self.strategy.version} {self.strategy.digest} part {self.part}"
        if state is None:
            part = new_part(len(self.timeframes), voters, learning.prior_skill, learning.least)
            begun = EngineState(owner, part, new_history(learning.window))
        else:
            begun = state.copy()
            begun.check_owner(owner)
        kept = begun.contexts or [b""] * len(self.contexts)
        for source, data in zip(self.contexts, kept, strict=True):
            source.restore(data)
        return begun

    def _forget_other_sets(self, digests: Mapping[str, str]) -> None:
        """What was carried for features that are no longer those of a set begins anew."""
        for key, digest in digests.items():
            if self._state.sets.get(key, digest) != digest:
                for market in self._state.markets.values():
                    for timeframe in self.timeframes:
                        market.slots.pop((key, timeframe), None)
            self._state.sets[key] = digest

    def state(self) -> EngineState:
        """What is carried on, as it is now: later events do not show in it."""
        return EngineState.unpacked(self.packed())

    def packed(self) -> bytes:
        """``state`` as bytes."""
        self._state.contexts = [source.packed() for source in self.contexts]
        for key, deck in self._decks.items():
            for instrument in deck.places:
                self._state.markets[instrument].slots[key] = deck.carried(instrument)
        return self._state.packed()

    def with_models(
        self, models: Mapping[str, FittedModel], versions: Mapping[str, int] | None = None
    ) -> "Engine":
        """The same engine with other models (these replace those of the same name) from here on."""
        return Engine(
            self.strategy,
            models={**self.models, **models},
            versions={**self.versions, **(versions or {})},
            part=self.part,
            contexts=self.contexts,
            state=self.state(),
        )

    def decides_on(self, instrument: str) -> bool:
        """Whether it is a market of the strategy, and of this part of the log."""
        found = self._mine.get(instrument)
        if found is None:
            chosen, parts = self.strategy.instruments, self.strategy.parts
            stream = Instrument.parse(instrument).stream("trades")
            found = (not chosen or instrument in chosen) and partition_of(stream, parts) == self.part
            self._mine[instrument] = found
        return found

    def advance(self, events: Sequence[tuple[int, str, Any]]) -> Outputs:
        """What follows from ``events``: (position, venue:symbol, event) in the order of the log.

        Events of markets that this strategy does not decide on are only shown to contexts that want them;
        events of other kinds are handed to every context.
        """
        blocks: list[Block] = []
        for is_market, stretch in stretches(events):
            if is_market:
                blocks += self._stretch(stretch)
            else:
                for position, instrument, event in stretch:
                    for source in self.contexts:
                        source.fold(position, instrument, event)
        return Outputs.of(blocks)

    def _stretch(self, events: Sequence[tuple[int, str, Fed]]) -> list[Block]:
        by_market: dict[str, list[tuple[int, Fed]]] = {}
        wanted = frozenset().union(*(source.markets for source in self.contexts))
        for position, instrument, event in events:
            if self.decides_on(instrument) or instrument in wanted:
                by_market.setdefault(instrument, []).append((position, event))
        closed: dict[str, Mapping[int, Closed]] = {}
        ticks: dict[str, Ticks] = {}
        for instrument, its in by_market.items():
            market = self._market(instrument)
            market.closing, closed[instrument] = close_bars(instrument, market.closing, its)
            if self.decides_on(instrument):
                market.sight, ticks[instrument] = market_ticks(market.sight, its)
        for source in self.contexts:
            for instrument in closed:
                if instrument in source.markets:
                    source.closed(instrument, closed[instrument])
        return self._decide(events, {i: closed[i] for i in ticks}, ticks)

    def _market(self, instrument: str) -> MarketState:
        found = self._state.markets.get(instrument)
        if found is None:
            window = self.strategy.gate.breaker_window
            found = new_market(len(self.timeframes), len(self._seats), window)
            self._state.markets[instrument] = found
        return found

    def _decide(
        self,
        events: Sequence[tuple[int, str, Fed]],
        closed: Mapping[str, Mapping[int, Closed]],
        ticks: Mapping[str, Ticks],
    ) -> list[Block]:
        made = self._feature_rows(closed)
        said: dict[int, Said] = {}
        parts: dict[str, list[Rows]] = {instrument: [] for instrument in closed}
        for slot, timeframe in enumerate(self.timeframes):
            having = [i for i in closed if timeframe in closed[i]]
            if having:
                sheet = rows_.sheet_of(
                    timeframe,
                    [made[i][timeframe] for i in having],
                    [closed[i][timeframe] for i in having],
                    [self._columns(i, timeframe, closed[i][timeframe]) for i in having],
                )
                ballot = rows_.ballot(sheet, self._seats, self._lookouts)
                said[slot] = Said(sheet, ballot, self._seats, self._lookouts)
                rows = self._rows_of(sheet, ballot.signed)
                at = 0
                for i in having:
                    count = len(closed[i][timeframe].bars)
                    parts[i].append(rows.take(slice(at, at + count)))
                    at += count
        markets = {i: self._prepared(i, ticks[i], parts[i]) for i in closed}

        blocks: list[Block] = []
        for instrument, its in groupby((e for e in events if e[1] in markets), key=itemgetter(1)):
            *_, (position, _, _) = its
            blocks += self._run(instrument, markets[instrument], position, said)
        for slot, its_said in said.items():
            its_said.keep(_decided(blocks, slot))
        return blocks

    def _feature_rows(
        self, closed: Mapping[str, Mapping[int, Closed]]
    ) -> dict[str, dict[int, dict[str, FeatureRows]]]:
        """By instrument, timeframe and set: side by side, but the history of a few one after the other."""
        found: dict[str, dict[int, dict[str, FeatureRows]]] = {instrument: {} for instrument in closed}
        single = {i for i, its in closed.items() if all(len(c.bars) == 1 for c in its.values())}
        many = {i: its for i, its in closed.items() if i not in single}
        alone = many if len(many) < SIDE_BY_SIDE else {}
        for (key, timeframe), lookout in self._lookouts.items():
            deck = self._decks[key, timeframe]
            for instrument in closed:
                slots = self._state.markets[instrument].slots
                if instrument in alone:
                    if instrument in deck.places:
                        slots[key, timeframe] = deck.unload(instrument)
                    carried = slots.get((key, timeframe), {})
                    slots[key, timeframe], made = lookout.plan.advance(carried, closed[instrument])
                    for rows in made:
                        found[instrument].setdefault(timeframe, {})[key] = rows
                elif instrument not in deck.places:
                    deck.load(instrument, slots.get((key, timeframe), {}))
            if many and not alone:
                for instrument, made in deck.run(many).items():
                    for rows in made:
                        found[instrument].setdefault(timeframe, {})[key] = rows
            for instrument, rows in deck.step({i: closed[i] for i in closed if i in single}).items():
                found[instrument].setdefault(timeframe, {})[key] = rows
        return found

    def _columns(self, instrument: str, timeframe: int, closed: Closed) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for source in self.contexts:
            found |= source.columns(instrument, timeframe, closed)
        return found

    def _prepared(self, instrument: str, ticks: Ticks, parts: Sequence["Rows"]) -> MarketSteps:
        """The steps of one market: its ticks, and the rows of its timeframes in one order."""
        rows = joined(parts) if parts else self._no_rows
        if len(parts) > 1:
            whole = rows.whole
            rows = rows.take(np.lexsort((whole[:, k.SLOT], whole[:, k.KNOWN], whole[:, k.POSITION])))
        numbers, prices = np.ascontiguousarray(ticks.numbers), np.ascontiguousarray(ticks.prices)
        steps = k.Steps(numbers, prices, rows.whole, rows.floats, rows.votes)
        return MarketSteps(self._state.markets[instrument], steps, rows.lineage)

    @cached_property
    def _no_rows(self) -> "Rows":
        return Rows(
            np.empty((0, k.OF_ROW), dtype=np.int64),
            np.empty((0, k.OF_ROW_F)),
            np.empty((0, len(self._seats))),
            np.empty((0, 3), dtype=np.int64),
        )

    def _rows_of(self, sheet: Sheet, votes: Floats) -> "Rows":
        """The rows of a sheet as the kernel takes them."""
        own = self._lookouts["", sheet.timeframe].columns[""]
        values, count = sheet.values[""], len(sheet)
        regimes = rows_.regime_codes(values[:, own[rows_.REGIME]])
        whole = np.empty((count, k.OF_ROW), dtype=np.int64)
        whole[:, k.POSITION], whole[:, k.KNOWN] = sheet.position, sheet.known_time
        whole[:, k.START], whole[:, k.AT] = sheet.start, np.arange(count)
        whole[:, k.SLOT] = self.timeframes.index(sheet.timeframe)
        whole[:, k.SKIPPED] = sheet.flags[""] & rows_.REFUSED_FLAGS
        whole[:, k.REGIME] = regimes
        ranks, ratios = values[:, own[rows_.RANK]], values[:, own[rows_.VOLUME]]
        whole[:, k.WANTED] = self._adaptations.wanted(regimes, ranks, ratios)
        floats = np.empty((count, k.OF_ROW_F))
        floats[:, k.CLOSE], floats[:, k.RANGE] = sheet.bars[:, 3], values[:, own[rows_.ATR]]
        for column, name in ((k.SWING_LOW, rows_.SWING_LOW), (k.SWING_HIGH, rows_.SWING_HIGH)):
            prices = values[:, own[name]] if name in own else np.zeros(count)
            floats[:, column] = np.where(prices > 0, prices, np.nan)  # 0: there was no swing
        lineage = np.stack([sheet.first_position, sheet.input_position, sheet.flags[""]], axis=1)
        return Rows(whole, floats, votes, lineage)

    def _run(
        self, instrument: str, market: MarketSteps, position: int, said: Mapping[int, Said]
    ) -> Iterator[Block]:
        """All steps of ``market`` that come from events up to ``position``."""
        steps, state, notes = market.steps, market.state, self._notes
        tick_end = int(np.searchsorted(steps.tick_i[t.POSITION], position, side="right"))
        row_end = int(np.searchsorted(steps.row_i[:, k.POSITION], position, side="right"))
        if row_end == market.cursor[1] and not state.arrays.around_i[w.COUNT]:
            market.cursor[0] = tick_end
            return
        why = k.FULL
        while why != k.END:
            notes.counts[:] = 0
            why = run(
                steps,
                self._rules,
                state.arrays,
                self._state.part,
                notes,
                market.cursor,
                tick_end,
                row_end,
            )
            if notes.counts[4]:
                yield self._noted(instrument, market, said)
            if why == k.GROW:
                state.arrays = grown(state.arrays)
            elif why == k.DUE:
                at = int(steps.tick_i[t.POSITION, market.cursor[0] - 1])
                yield self._fitted(at)

    def _noted(self, instrument: str, market: MarketSteps, said: Mapping[int, Said]) -> Noted:
        state, steps = market.state, market.steps
        self._remember(instrument)
        rows = engine_noted.Rows(steps.row_i, steps.row_f, market.lineage)
        noted = Noted.of(self._clerk, instrument, state.ordinal, self._notes, rows, self._table, said)
        state.ordinal = int(noted.ordinals[-1])
        return noted

    def _remember(self, instrument: str) -> None:
        """Keep the resolved candidates for the next fit."""
        notes, n = self._notes, int(self._notes.counts[k.OUTCOME])
        if not n:
            return
        numbers = np.empty((n, 5), dtype=np.int64)
        outcome, mine = notes.outcome_i[:n], notes.outcome_mine_f[:n]
        numbers[:, 0] = list(self._state.markets).index(instrument)
        numbers[:, 1], numbers[:, 2] = outcome[:, w.DECIDED], outcome[:, w.MOMENT]
        numbers[:, 3], numbers[:, 4] = notes.outcome_mine_i[:n, k.ITS_POSITION], outcome[:, w.POSITION]
        values = np.empty((n, 3))
        values[:, 0] = mine[:, k.RAW]
        values[:, 1] = [c.logit(base) for base in mine[:, k.BASE].tolist()]
        reason = outcome[:, w.REASON]
        values[:, 2] = (reason == TARGET) | (reason == GAP_TARGET)
        self._state.history.take(numbers, values)

    def _fitted(self, position: int) -> Told:
        names = [seat.choice.name for seat in self._seats]
        event = fit(self._state, self.strategy, self.timeframes, names, self.part, position)
        self._table = Table.of(self._state.part)
        return Told(position, "", int(self._state.part.counters[k.CALIBRATION]), event)


def _decided(blocks: Sequence[Block], slot: int) -> Int64s:
    """The rows of the sheet of ``slot`` that decisions were made of."""
    rows = [block.decided.whole for block in blocks if isinstance(block, Noted)]
    whole = np.concatenate([np.empty((0, k.OF_ROW), dtype=np.int64), *rows])
    return np.asarray(whole[whole[:, k.SLOT] == slot, k.AT])
