"""A decision in words: the way from votes to the gate, each step with its numbers."""

from alphapulse.domain.decision.decisions import CastVote, DecisionMade, GateReading

_SIDES = {1: "long", -1: "short"}
_DIRECTIONS = {1: "rise", -1: "fall", 0: "abstains"}


def explained(made: DecisionMade) -> str:
    """Several lines, for a terminal."""
    return "\n".join(
        [
            f"{made.decision}: {_SIDES[made.side]} at {made.entry:.8g}, {made.verdict} ({made.label})",
            (
                f"  bar known by event {made.position}; features made of events {made.first_position} to "
                f"{made.input_position}; regime {made.regime}, "
                f"average true range {made.average_true_range:.6g}"
            ),
            *([f"  parameters of adaptation {made.parameters!r}"] if made.parameters else []),
            "  votes (weight = max(skill, 0) / crowd, as a share of all):",
            *(line for vote in made.votes for line in _vote(vote)),
            (
                f"  consensus {made.consensus:+.3f}, disagreement {made.disagreement:.3f}, "
                f"{made.voters:.2f} voters without copies"
            ),
            "  geometries (base = stop / (stop + target distance); raw log-odds of the target first):",
            *(
                f"   {'>' if n == made.chosen else ' '} stop {p.stop:.8g}, target {p.target:.8g}: base "
                f"{p.base:.3f}, raw {p.raw:+.3f}, expected {p.expected_bps:+.1f} bps"
                for n, p in enumerate(made.proposed)
            ),
            *_claim(made),
            *_gate(made.gate),
            *(f"  {note}" for note in made.notes),
        ]
    )


def _vote(vote: CastVote) -> list[str]:
    if not vote.direction:
        return [f"    {vote.voter}: abstains"]
    head = (
        f"    {vote.voter}: {_DIRECTIONS[vote.direction]} {vote.score:.3f}, weight {vote.weight:.3f} "
        f"(skill {vote.skill:+.4f}: measured {vote.measured:+.4f} over {vote.outcomes:.0f} outcomes, prior "
        f"{vote.prior:+.4f}; one of {vote.crowd:.2f})"
    )
    return [head, *(f"      {reason}" for reason in vote.reasons)]


def _claim(made: DecisionMade) -> list[str]:
    c = made.claim
    if not c.calibration:
        return ["  no calibration yet: nothing is claimed"]
    return [
        (
            f"  confidence {c.confidence:.4f}: calibration {c.calibration} at raw {c.raw:+.3f}, between "
            f"({c.x0:+.3f}, {c.p0:.4f}) and ({c.x1:+.3f}, {c.p1:.4f})"
        )
    ]


def _gate(g: GateReading) -> list[str]:
    state = "closed" if g.is_closed else "open"
    return [
        (
            f"  gate: confidence at least {g.threshold:g}; needed to pay {g.needed:.4f}, "
            f"margin {g.margin:+.4f} of {g.required_margin:g}"
        ),
        (
            f"  breaker {state}: {g.wins:.0f} of the last {g.outcomes:.0f} won "
            f"(at most {g.upper_bound:.3f}), claimed were {g.mean_claim:.3f}"
        ),
    ]
