"""One subscription: two threads use its connection, and one of them may renew it."""

import threading

import pytest

from record_presence.presence.scripts import Scripts
from record_presence.presence.streaming.subscription import Subscription
from tests.lua.commands import RECORD
from tests.presence.streaming.screen import wait_until

CHANNEL = RECORD.channel


@pytest.fixture
def subscription(real_redis):
    return Subscription(real_redis, Scripts(), [CHANNEL], threading.RLock(), observe=lambda what: None)


def receive(subscription, kind):
    """The next message of the kind."""
    messages = []

    def has_come():
        messages.append(subscription.receive(0.05))
        return messages[-1] is not None and messages[-1].kind == kind

    wait_until(has_come, kind)
    return messages[-1]


def in_another_thread(call, *args):
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_lost_connection_is_made_again_by_the_thread_that_reads_it(real_redis, subscription):
    def subscribers():
        return dict(real_redis.pubsub_numsub(CHANNEL))[CHANNEL]

    with subscription.connected():
        receive(subscription, "connected")
        assert receive(subscription, "subscribe").channel == CHANNEL
        real_redis.connection_pool.disconnect()
        wait_until(lambda: subscribers() == 0, "the end of the connection")

        in_another_thread(subscription.update_channels, [CHANNEL])
        in_another_thread(subscription.wake_receiver)
        assert subscribers() == 0  # connected again, that thread would wait for what this one reads

        receive(subscription, "connected")
        assert receive(subscription, "subscribe").channel == CHANNEL
        assert subscribers() == 1


def test_connection_that_goes_back_to_the_pool_serves_every_thread(real_redis, subscription):
    with subscription.connected():
        receive(subscription, "connected")
    real_redis.connection_pool.disconnect()
    answers = []

    in_another_thread(lambda: answers.extend(real_redis.pipeline().ping().ping().execute()))

    assert answers == [True, True]
