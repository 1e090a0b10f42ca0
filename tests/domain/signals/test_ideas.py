"""What a trade idea must be, to be watched at all."""

import math
from typing import Any

import pytest

from alphapulse.domain.signals.idea import MAX_COST_BPS, MAX_HORIZON_DAYS, BadIdea, check
from alphapulse.domain.signals.watcher import Watch
from tests.domain.signals.outcome_worlds import T0, long, short

DAY = 86_400 * 10**9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop": 101.0, "target": 110.0}, "long needs 101 < entry 100 < 110"),
        ({"stop": 100.0}, "long needs 100 < entry 100 < 103"),
        ({"target": 99.5}, "long needs 98 < entry 100 < 99.5"),
        ({"side": -1}, "short needs 103 < entry 100 < 98"),
        ({"side": 0}, "side 0 is neither 1 (long) nor -1 (short)"),
        ({"stop": math.nan}, "stop nan is not from 1e-15 to 1e+15"),
        ({"target": math.inf}, "target inf is not from 1e-15 to 1e+15"),
        ({"entry": 0.0}, "entry 0.0 is not from 1e-15 to 1e+15"),
        ({"stop": -98.0}, "stop -98.0 is not from 1e-15 to 1e+15"),
        ({"horizon_end": T0}, f"horizon ends at {T0} ns, not after the decision at {T0} ns"),
        ({"horizon_end": T0 + 401 * DAY}, "horizon of 401.0 days is over the limit of 400 days"),
        ({"decided": 0}, "decided at 0 ns, which is not after 1970"),
        ({"fee_bps": -1.0}, "fee_bps -1 is not from 0 to 5000"),
        ({"slippage_bps": math.nan}, "slippage_bps nan is not from 0 to 5000"),
    ],
)
def test_an_idea_that_makes_no_sense_is_refused_with_its_values(
    changes: dict[str, Any], message: str
) -> None:
    watch = Watch.empty(1)
    before = watch.packed()
    with pytest.raises(BadIdea) as refusal:
        watch.add(1, long(**changes))
    assert str(refusal.value) == message
    assert watch.packed() == before


def test_an_idea_may_be_at_the_limits() -> None:
    end = T0 + MAX_HORIZON_DAYS * DAY
    check(long(horizon_end=end, fee_bps=MAX_COST_BPS, slippage_bps=MAX_COST_BPS, target=1e15))
    check(short(stop=1e15, target=1e-15))


def test_risk_is_the_way_to_the_stop_in_bps_of_the_entry() -> None:
    assert long(entry=200.0, stop=199.0, target=300.0).risk_bps == 50
    assert short(entry=200.0, stop=201.0, target=100.0).risk_bps == 50
