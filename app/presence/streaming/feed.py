"""A feed: a subscription, the topics that it brings messages for, and what these lead to."""

from dataclasses import dataclass, field

from .messages import MessageHandler
from .outage import Outage
from .subscription import Subscription
from .topic import Topic


@dataclass(slots=True, eq=False)
class Feed:
    """What one receiving thread works with. The lock guards `topics` and what comes after it."""

    subscription: Subscription
    outage: Outage
    messages: MessageHandler
    topics: dict[str, Topic] = field(repr=False)  # by channel
    node_name: str = ""  # of a Cluster; empty where any node serves all topics
    is_refused: bool = False  # the node takes no such subscription
    idle_since: float | None = None  # on the monotonic clock; it has no topic since then
