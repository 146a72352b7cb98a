"""Settings of gunicorn: `gunicorn -c python:app.gunicorn wsgi:app`."""

import errno
import gc
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import gunicorn.util

from app import patience
from app.logs import GunicornLogger
from app.settings import SettingError, read_settings

try:
    _settings = read_settings()
except SettingError as error:
    sys.exit(str(error))

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host  # IPv6
bind = f"{_host}:{_settings.port}"
# Streams are held open by the hundred: greenlets hold them, threads would starve.
worker_class = "gevent"
# However many streams there are, there is room for the connections that heartbeats come by.
worker_connections = _settings.max_streams + 2_000
workers = 1 if _settings.is_embedded else _settings.web_concurrency or os.cpu_count() or 1
keepalive = 75  # seconds; longer than two heartbeats, so that a tab keeps its connection
graceful_timeout = 3  # seconds; what lasts longer is a stream or an idle connection, and comes back
timeout = 30
limit_request_line = 8190  # 100 records in a batch
# A browser behind a proxy sends thirty; each may be 8 KiB that anybody can have parsed.
limit_request_fields = 50
forwarder_headers = ""  # else a proxy may send SCRIPT_NAME and PATH_INFO, which say where a request goes
logger_class = GunicornLogger
_logs_access = not _settings.is_embedded if _settings.access_log is None else _settings.access_log
accesslog = "-" if _logs_access else None
loglevel = "warning"
control_socket_disable = True

GC_THRESHOLD = 10_000  # objects; the interpreter's own is 700

# A stream is a file descriptor, and the usual limit is 1,024 of them.
_soft_limit, _hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(_hard_limit, 65_536), _hard_limit))


def _write_failure(sock: Any, status: int, reason: str, message: str) -> None:
    """gunicorn's own errors (a malformed request, headers too large) in the envelope."""
    if not isinstance(sys.exc_info()[1], Exception | None):
        # The process stops. An idle connection is closed and told nothing: an answer without a
        # question would be taken for that to the next one.
        return
    from app.api.responses import failure  # late: see app/__init__.py

    response = failure(status, f"{reason}.")
    lines = [f"HTTP/1.1 {status} {reason}", "Connection: close"]
    lines += [f"{name}: {text}" for name, text in response.headers.items()]
    head = "\r\n".join([*lines, "", ""])
    gunicorn.util.write_nonblock(sock, head.encode("latin1") + response.get_data())


def _try_address() -> None:
    # gunicorn itself tries for five seconds, and logs two lines each time.
    family = socket.AF_INET6 if ":" in _settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_settings.host, _settings.port))
        except (OSError, UnicodeError) as error:
            is_port = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
            reason = getattr(error, "strerror", None) or "No such host"
            sys.exit(f"{'PORT' if is_port else 'HOST'}: can't listen on {bind} ({reason})")


def _try_application(server: Any) -> None:
    """Load the application in a process that ends, for its complaint to come once and alone.

    Each worker would repeat it, and gunicorn add that a worker is gone. Unexpected
    errors are left to the workers, who log them with a traceback.
    """
    pid = os.fork()
    if pid == 0:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # where it would leave files
        code: Any = 0
        try:
            server.app.wsgi()
        except SystemExit as stop:
            code = stop.code
        finally:
            os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(code)


# gunicorn has no setting for the page that it answers before there is a request.
gunicorn.util.write_error = _write_failure
patience.install()


def on_starting(server: Any) -> None:
    """Stop at what is wrong with one line, and give the processes a place to share their metrics."""
    if not {"GUNICORN_FD", "LISTEN_FDS"} & os.environ.keys():  # sockets that somebody else has opened
        _try_address()
    _try_application(server)
    if workers > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        server.metrics_directory = tempfile.mkdtemp(prefix="presence-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = server.metrics_directory


def when_ready(server: Any) -> None:
    """Say where to look."""
    where = "embedded, one process" if _settings.is_embedded else f"{server.cfg.workers} processes"
    print(f"Record Presence is on {server.LISTENERS[0]} ({where})", flush=True)


def post_fork(server: Any, worker: Any) -> None:
    """Let Ctrl-C end a worker in silence: gunicorn's own way out often prints a traceback."""
    worker.handle_quit = lambda *_: os._exit(0)


def post_worker_init(worker: Any) -> None:
    """Leave what is loaded to itself; let the streams of a worker that stops come to an end.

    Looking through all that is loaded takes the garbage collector 50 ms and more, in which nobody is
    answered, and finds nothing. A change told to thousands of streams makes thousands of objects at
    once, and no garbage: at the usual threshold the collector takes a fifth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    # Ctrl-C reaches the workers as well as the master, who then sends them SIGQUIT.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    extensions = getattr(worker.wsgi, "extensions", {})
    if presence := extensions.get("presence"):
        presence.broadcast.is_draining = lambda: not worker.alive


def pre_request(worker: Any, req: Any) -> None:
    """Bound the request, and let a connection end with its stream.

    A stream's reader should come back to a process that stays.
    """
    patience.begin(req)
    if req.path.endswith("/presence/events"):
        req.force_close()


def post_request(worker: Any, req: Any) -> None:
    """Lift the bounds of pre_request."""
    patience.end(req)


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a process had open that is no more.

    By hand: prometheus_client must not be imported in here, before gevent has patched what it imports.
    """
    if directory := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        for path in Path(directory).glob(f"gauge_live*_{worker.pid}.db"):
            path.unlink(missing_ok=True)


def on_exit(server: Any) -> None:
    """Remove what on_starting made."""
    if directory := getattr(server, "metrics_directory", None):
        shutil.rmtree(directory, ignore_errors=True)
