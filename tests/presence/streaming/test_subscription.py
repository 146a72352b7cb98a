"""One subscription: two threads use its connection, and one of them may renew it."""

import threading

import pytest

from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.streaming.subscription import Subscription
from tests.lua.commands import RECORD
from tests.presence.streaming.screen import wait_until

CHANNEL = RECORD.channel
OTHER = Record("1", "flow", "13")


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


def test_what_changes_while_the_connection_is_lost_is_made_good(real_redis):
    channels = [CHANNEL]
    subscription = Subscription(real_redis, Scripts(), channels, threading.RLock(), observe=lambda what: None)

    def subscribed():
        return real_redis.pubsub_channels("tenant_*")

    with subscription.connected():
        receive(subscription, "connected")
        receive(subscription, "subscribe")
        real_redis.connection_pool.disconnect()
        wait_until(lambda: subscribed() == [], "the end of the connection")
        channels[:] = [OTHER.channel]

        in_another_thread(subscription.update_channels, [CHANNEL, OTHER.channel])
        receive(subscription, "connected")
        heard = []
        while OTHER.channel not in heard:
            heard.append(receive(subscription, "subscribe").channel)

        wait_until(lambda: subscription.receive(0.05) is None, "the last answer")
        assert subscribed() == [OTHER.channel]


def test_connection_that_goes_back_to_the_pool_serves_every_thread(real_redis, subscription):
    with subscription.connected():
        receive(subscription, "connected")
    real_redis.connection_pool.disconnect()
    answers = []

    in_another_thread(lambda: answers.extend(real_redis.pipeline().ping().ping().execute()))

    assert answers == [True, True]
