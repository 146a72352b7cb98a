"""The token bucket: bursts are allowed, and the rate holds in the long run."""

import pytest

from record_presence.presence.streaming.token_bucket import Rate, TokenBucket

NOW = 1000.0


def test_tokens_up_to_the_burst_can_be_consumed_at_once():
    bucket = TokenBucket()

    assert [bucket.consume(Rate(1.0, burst=3.0), NOW) for _ in range(4)] == [True, True, True, False]


def test_token_is_available_again_when_the_bucket_says_so():
    bucket, rate = TokenBucket(), Rate(4.0, burst=1.0)
    assert bucket.consume(rate, NOW)
    available_at = bucket.available_at(rate)

    assert available_at == pytest.approx(NOW + 0.25)
    assert not bucket.consume(rate, available_at - 0.01)
    assert bucket.consume(rate, available_at + 0.01)


def test_tokens_are_not_saved_up_beyond_the_burst():
    bucket, rate = TokenBucket(), Rate(10.0, burst=2.0)
    bucket.consume(rate, NOW)

    assert [bucket.consume(rate, NOW + 3600) for _ in range(3)] == [True, True, False]


def test_rate_may_change_between_calls():
    bucket = TokenBucket()
    bucket.consume(Rate(100.0, burst=1.0), NOW)

    assert not bucket.consume(Rate(1.0, burst=1.0), NOW + 0.5)
    assert bucket.consume(Rate(100.0, burst=1.0), NOW + 0.6)
