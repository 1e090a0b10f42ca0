"""Buckets of cost per principal and address."""

import pytest

from alphapulse.graphql.errors import RateLimited
from alphapulse.graphql.rate import Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_refills_at_its_rate() -> None:
    clock = Clock()
    rates = Rates(per_s=10, burst=100, keys=5, clock=clock)
    rates.take("a", 60)
    rates.take("a", 40)
    with pytest.raises(RateLimited, match=r"a asked for 1 .* wait 0\.1 s"):
        rates.take("a", 1)
    clock.now = 2.0
    rates.take("a", 20)


def test_what_is_refused_takes_nothing() -> None:
    rates = Rates(per_s=10, burst=100, keys=5, clock=Clock())
    for _ in range(3):
        with pytest.raises(RateLimited):
            rates.take("a", 101)
    rates.take("a", 100)


def test_principals_do_not_share_a_bucket() -> None:
    rates = Rates(per_s=10, burst=100, keys=5, clock=Clock())
    rates.take("a", 100)
    rates.take("b", 100)


def test_the_number_of_buckets_is_bounded_and_the_one_unused_longest_goes() -> None:
    rates = Rates(per_s=0.001, burst=100, keys=2, clock=Clock())
    for key in ("a", "b", "a", "c"):
        rates.take(key, 10)
    assert len(rates) == 2
    rates.take("a", 80)  # was kept: 20 gone before
    with pytest.raises(RateLimited):
        rates.take("a", 1)
    rates.take("b", 100)  # was forgotten: full again


def test_a_rate_of_zero_is_no_limit() -> None:
    rates = Rates(per_s=0, burst=0, keys=2, clock=Clock())
    for _ in range(1000):
        rates.take("a", 10**9)
