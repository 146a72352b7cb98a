"""Whether threads are greenlets here: the server may have patched gevent in, before it imported us."""

import sys


def runs_greenlets(module: str = "socket") -> bool:
    """Whether gevent has patched this module of the standard library. Does not import gevent."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))
