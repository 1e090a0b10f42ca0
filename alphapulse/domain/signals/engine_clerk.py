"""From what the kernel noted down to events: every number of a decision beside those that it is made of."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alphapulse.domain.decision import consensus as c
from alphapulse.domain.decision import decisions as d
from alphapulse.domain.decision.breaker import upper_bound
from alphapulse.domain.decision.strategy import StrategyDefined, change_of
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.engine_events import Event, ExitSuggested
from alphapulse.domain.signals.engine_noted import Noted, Table
from alphapulse.domain.signals.engine_rows import Seat
from alphapulse.domain.signals.engine_said import Said
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Exit, booked
from alphapulse.domain.signals.signal import OutcomeRecorded

REGIME_NAMES = ("trend_down", "range", "trend_up", "turbulence")


@dataclass(frozen=True)
class Clerk:
    """Writes events for one strategy."""

    strategy: StrategyDefined
    seats: Sequence[Seat]
    rules: k.Rules
    timeframes: tuple[int, ...]

    @cached_property
    def _adaptations(self) -> tuple[str, ...]:
        return ("", *(adaptation.name for adaptation in self.strategy.adaptations))

    def event(self, noted: Noted, kind: int, n: int) -> Event:
        """The event of the ``n``-th note of a kind."""
        match kind:
            case k.OUTCOME:
                return self._outcome(noted, n)
            case k.ADAPTED:
                return self._adapted(noted, n)
            case k.DECISION:
                return self._decision(noted, n)
            case _:
                return self._exit(noted, n)

    def decision_id(self, instrument: str, slot: int, start: int) -> str:
        s = self.strategy
        return d.decision_id(s.name, s.version, instrument, self.timeframes[slot], start)

    def _outcome(self, noted: Noted, n: int) -> OutcomeRecorded:
        notes, instrument = noted.notes, noted.instrument
        f, i = notes.outcome_f[n].tolist(), notes.outcome_i[n].tolist()
        mine = notes.outcome_mine_i[n].tolist()
        risk = self.strategy.risk
        idea = Idea(
            side=i[w.SIDE],
            entry=f[w.ENTRY],
            stop=f[w.STOP_AT],
            target=f[w.TARGET_AT],
            decided=i[w.DECIDED],
            horizon_end=i[w.HORIZON],
            fee_bps=risk.fee_bps,
            slippage_bps=risk.slippage_bps,
        )
        left = Exit(
            reason=i[w.REASON],
            price=f[w.EXIT],
            worst=f[w.WORST],
            best=f[w.BEST],
            highest=f[w.HIGHEST],
            lowest=f[w.LOWEST],
            moment=i[w.MOMENT],
            unseen_from=i[w.UNSEEN_FROM],
            unseen_until=i[w.UNSEEN_UNTIL],
            position=i[w.POSITION],
        )
        return OutcomeRecorded(
            strategy=self.strategy.name,
            strategy_version=self.strategy.version,
            decision=self.decision_id(instrument, mine[k.ITS_SLOT], mine[k.ITS_START]),
            instrument=instrument,
            timeframe=self.timeframes[mine[k.ITS_SLOT]],
            side=idea.side,
            number=0,
            confidence=float(notes.outcome_mine_f[n, k.CLAIM]),
            outcome=booked(idea, left),
        )

    def _adapted(self, noted: Noted, n: int) -> d.ParametersAdapted:
        _, before, after = noted.notes.adapted[n].tolist()
        row = noted.adapted.whole[n].tolist()
        adaptation = self.strategy.adaptations[after - 1] if after else None
        return d.ParametersAdapted(
            strategy=self.strategy.name,
            strategy_version=self.strategy.version,
            instrument=noted.instrument,
            timeframe=self.timeframes[row[k.SLOT]],
            bar_start=row[k.START],
            time=row[k.KNOWN],
            position=row[k.POSITION],
            before=self._adaptations[before],
            after=self._adaptations[after],
            change=dict(change_of(adaptation)),
            notes=(f"asked for on {k.ADAPT_BARS} bars in a row, regime {REGIME_NAMES[row[k.REGIME]]}",),
        )

    def _exit(self, noted: Noted, n: int) -> ExitSuggested:
        its = noted.notes.exits[n].tolist()
        against = self._against(noted, its[k.OF_IDEA_I])
        return ExitSuggested(
            decision=self.decision_id(noted.instrument, its[k.ITS_SLOT], its[k.ITS_START]),
            against=against.decision,
            instrument=noted.instrument,
            time=against.time,
            price=against.entry,
            consensus=against.consensus,
            reasons=tuple(
                f"{vote.voter}: {reason}"
                for vote in against.votes
                if vote.direction == against.side
                for reason in vote.reasons
            ),
        )

    def _against(self, noted: Noted, n: int) -> d.DecisionMade:
        order = noted.notes.order
        at = int(np.flatnonzero((order[:, 0] == k.DECISION) & (order[:, 1] == n))[0])
        made = noted.event(at)
        assert isinstance(made, d.DecisionMade)
        return made

    def _decision(self, noted: Noted, n: int) -> d.DecisionMade:
        notes, table = noted.notes, noted.table
        whole, floats = notes.decision_i[n].tolist(), notes.decision_f[n].tolist()
        row, bar = noted.decided.whole[n].tolist(), noted.decided.floats[n].tolist()
        first, inputs, flags = noted.decided.lineage[n].tolist()
        proposed = self._proposed(notes, n)
        chosen = max(whole[k.CHOSEN], 0)
        gate = self._gate(whole, floats)
        refusals = tuple(name for bit, name in _REFUSALS if whole[k.REFUSALS] & bit)
        s = self.strategy
        return d.DecisionMade(
            decision=self.decision_id(noted.instrument, row[k.SLOT], row[k.START]),
            strategy=s.name,
            strategy_version=s.version,
            instrument=noted.instrument,
            timeframe=self.timeframes[row[k.SLOT]],
            bar_start=row[k.START],
            time=row[k.KNOWN],
            position=row[k.POSITION],
            first_position=first,
            input_position=inputs,
            flags=flags,
            side=whole[k.SIDE],
            entry=bar[k.CLOSE],
            stop=proposed[chosen].stop,
            target=proposed[chosen].target,
            horizon_end=proposed[chosen].horizon_end,
            regime=REGIME_NAMES[row[k.REGIME]],
            average_true_range=bar[k.RANGE],
            parameters=self._adaptations[whole[k.PARAMETERS]],
            votes=self._votes(notes.of_voters[n].tolist(), row[k.AT], noted.said[row[k.SLOT]]),
            consensus=floats[k.CONSENSUS],
            disagreement=floats[k.DISAGREEMENT],
            voters=floats[k.VOTERS],
            proposed=proposed,
            chosen=whole[k.CHOSEN],
            claim=_claim(proposed[chosen], floats[k.CONFIDENCE], table),
            gate=gate,
            verdict=d.REFUSED if refusals else d.ISSUED,
            refusals=refusals,
            notes=tuple(self._note(name, gate, floats[k.CONFIDENCE], whole, table) for name in refusals),
            size_ratio=0.0,
            label=s.label,
        )

    def _votes(self, found: Sequence[Sequence[float]], row: int, said: Said) -> tuple[d.CastVote, ...]:
        return tuple(
            d.CastVote(
                voter=seat.choice.name,
                version=seat.voter.version if seat.voter else 0,
                direction=(mine[c.SIGNED] > 0) - (mine[c.SIGNED] < 0),
                score=abs(mine[c.SIGNED]),
                measured=mine[c.MEASURED],
                outcomes=mine[c.OUTCOMES],
                prior=mine[c.PRIOR],
                skill=mine[c.SKILL],
                crowd=mine[c.CROWD],
                weight=mine[c.WEIGHT],
                model=seat.model,
                reasons=said.reasons(place, row) if mine[c.SIGNED] or seat.voter is None else (),
            )
            for place, (seat, mine) in enumerate(zip(self.seats, found, strict=True))
        )

    def _proposed(self, notes: k.Notes, n: int) -> tuple[d.Proposed, ...]:
        return tuple(
            d.Proposed(
                stop=found[k.STOP],
                target=found[k.TARGET_PRICE],
                horizon_end=horizon,
                base=found[k.PROPOSED_BASE],
                raw=found[k.PROPOSED_RAW],
                expected_bps=found[k.EXPECTED],
            )
            for found, horizon in zip(notes.proposed[n].tolist(), notes.horizons[n].tolist(), strict=True)
        )

    def _gate(self, whole: Sequence[int], floats: Sequence[float]) -> d.GateReading:
        gate, outcomes = self.strategy.gate, whole[k.OUTCOMES]
        bound = upper_bound(floats[k.WINS], outcomes)
        return d.GateReading(
            threshold=gate.threshold,
            needed=floats[k.NEEDED],
            margin=floats[k.CONFIDENCE] - floats[k.NEEDED],
            required_margin=gate.margin,
            wins=floats[k.WINS],
            outcomes=float(outcomes),
            mean_claim=floats[k.MEAN_CLAIM],
            upper_bound=bound if bound == bound else 1.0,
            is_closed=bool(whole[k.IS_CLOSED]),
        )

    def _note(
        self, name: str, gate: d.GateReading, confidence: float, whole: Sequence[int], table: Table
    ) -> str:
        resolved, due = whole[k.RESOLVED_SO_FAR], table.due_at
        match name:
            case d.UNCALIBRATED:
                return f"nothing can be claimed yet: {resolved} candidates resolved, {due} are needed"
            case d.LOW_CONFIDENCE:
                return f"confidence {confidence:.4f} is under {gate.threshold:g}"
            case d.DOES_NOT_PAY:
                return (
                    f"confidence {confidence:.4f} less {gate.needed:.4f}, which levels and costs need, "
                    f"is {gate.margin:.4f}, under {gate.required_margin:g}"
                )
            case d.BREAKER:
                return (
                    f"breaker: {gate.wins:g} of {gate.outcomes:g} won, at most {gate.upper_bound:.4f}, "
                    f"under the mean claim of {gate.mean_claim:.4f}"
                )
            case d.CAPACITY:
                return f"{whole[k.OPEN_IDEAS]} ideas of this market are open, as many as are watched"
            case d.NO_SKILL:
                return "nobody that votes has shown any skill in such a market: it is only watched"
        return "no geometry gives levels and a horizon that can be watched: see what was proposed"


_REFUSALS = (
    (k.UNCALIBRATED, d.UNCALIBRATED),
    (k.LOW_CONFIDENCE, d.LOW_CONFIDENCE),
    (k.DOES_NOT_PAY, d.DOES_NOT_PAY),
    (k.BREAKER, d.BREAKER),
    (k.CAPACITY, d.CAPACITY),
    (k.BAD_LEVELS, d.BAD_LEVELS),
    (k.NO_SKILL, d.NO_SKILL),
)


def _claim(chosen: d.Proposed, confidence: float, table: Table) -> d.Claim:
    number = table.number
    if number == 0 or chosen.base == 0.0:
        return d.Claim(calibration=number, raw=chosen.raw, x0=0.0, p0=0.0, x1=0.0, p1=0.0, confidence=0.0)
    asked = c.logit(chosen.base) if table.asks_base else chosen.raw
    x, p = table.x, table.p
    right = min(bisect_right(x, asked), len(x) - 1)
    left = max(right - 1, 0) if asked < x[-1] else right
    return d.Claim(
        calibration=number,
        raw=asked,
        x0=float(x[left]),
        p0=float(p[left]),
        x1=float(x[right]),
        p1=float(p[right]),
        confidence=confidence,
    )
