"""gunicorn's settings, for `record-presence serve`.

Or `gunicorn -c python:record_presence.server.gunicorn_config record_presence.server.wsgi:app`.
"""

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

from ..settings import SettingError, read_settings
from . import draining, sending, timeouts
from .cpus import available_cpus
from .gunicorn_logger import GunicornLogger

try:
    _settings = read_settings()
except SettingError as error:
    sys.exit(str(error))

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host  # IPv6
bind = f"{_host}:{_settings.port}"
# A process holds thousands of open streams: cheap as greenlets, too many for threads.
worker_class = "gevent"
worker_connections = _settings.max_connections
workers = 1 if _settings.is_embedded else _settings.web_concurrency or available_cpus()
keepalive = 75  # seconds; longer than two heartbeats, so that a tab keeps its connection
graceful_timeout = 3  # seconds; anything longer is a stream or an idle connection, which reconnects
timeout = 30
limit_request_line = 8190  # 100 records in a batch
# A browser behind a proxy sends thirty. Each may have 8 KiB, which we parse for anybody.
limit_request_fields = 50
forwarder_headers = ""  # otherwise SCRIPT_NAME and PATH_INFO from a proxy would change the route
logger_class = GunicornLogger
_logs_access = not _settings.is_embedded if _settings.access_log is None else _settings.access_log
accesslog = "-" if _logs_access else None
loglevel = "warning"
control_socket_disable = True

# The garbage collector's three generations. Nobody is answered while it scans, a million objects in 0.3 s:
# few objects at a time, and hardly ever all of them, because what outlives a request is a stream, which
# leaves no cycles behind.
GC_THRESHOLDS = (2_000, 5, 1_000)

# Every stream needs a file descriptor, and the usual limit is 1,024.
_soft_limit, _hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(_hard_limit, 65_536), _hard_limit))


def _write_failure(sock: Any, status: int, reason: str, message: str) -> None:
    """gunicorn's own errors (a malformed request, headers too large) in the envelope."""
    if not isinstance(sys.exc_info()[1], Exception | None):
        # The process is stopping. An idle connection is closed without an answer, since its client would
        # take one for the answer to its next request.
        return
    from ..api.refusals import pause_before_refusal  # late: see app/__init__.py
    from ..api.responses import failure

    pause_before_refusal()
    response = failure(status, f"{reason}.")
    lines = [f"HTTP/1.1 {status} {reason}", "Connection: close"]
    lines += [f"{name}: {text}" for name, text in response.headers.items()]
    head = "\r\n".join([*lines, "", ""])
    gunicorn.util.write_nonblock(sock, head.encode("latin1") + response.get_data())


def _check_address() -> None:
    # gunicorn itself would try for five seconds, and log two lines each time.
    family = socket.AF_INET6 if ":" in _settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_settings.host, _settings.port))
        except (OSError, UnicodeError) as error:
            is_port = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
            reason = getattr(error, "strerror", None) or "No such host"
            sys.exit(f"{'PORT' if is_port else 'HOST'}: can't listen on {bind} ({reason})")


def _check_temporary_folder() -> None:
    # gunicorn's workers and the metrics of several processes need it. It would be a traceback otherwise.
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        hint = "in a container with a read-only root, mount one at /tmp"
        sys.exit(f"TMPDIR: no folder for temporary files can be written; {hint}")


def _check_application(server: Any) -> None:
    """Load the application in a throwaway process, so that a wrong setting is reported once.

    Otherwise each worker would report it, and gunicorn would add that a worker is gone.
    Unexpected errors are left to the workers, which log them with a traceback.
    """
    pid = os.fork()
    if pid == 0:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # it would leave files there
        code: Any = 0
        try:
            server.app.wsgi()
        except SystemExit as stop:
            code = stop.code
        finally:
            os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(code)


# gunicorn has no setting for its answer to a malformed request.
gunicorn.util.write_error = _write_failure
timeouts.install()
sending.install()


def on_starting(server: Any) -> None:
    """Stop with one line if something is wrong; give the processes a folder to share their metrics."""
    _check_temporary_folder()
    if not {"GUNICORN_FD", "LISTEN_FDS"} & os.environ.keys():  # sockets opened by somebody else
        _check_address()
    _check_application(server)
    draining.install(server, _settings.drain_seconds)
    if workers > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        server.metrics_directory = tempfile.mkdtemp(prefix="presence-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = server.metrics_directory


def when_ready(server: Any) -> None:
    """Print the address, and whether the demo is on."""
    where = "embedded, one process" if _settings.is_embedded else f"{server.cfg.workers} processes"
    print(f"Record Presence is on {server.LISTENERS[0]} ({where}; {_settings.demo_state})", flush=True)


def post_fork(server: Any, worker: Any) -> None:
    """Let Ctrl-C end a worker silently: gunicorn's own handler often prints a traceback."""
    worker.handle_quit = lambda *_: os._exit(0)


def _prepare(app: Any) -> None:
    """Make what the first call to a page would make, while everybody else's waits: up to 50 ms each."""
    from ..api import reference  # late: see app/__init__.py

    if reference.blueprint.name in app.blueprints:
        reference.prepare_document(app)
    if app.import_name != "record_presence":  # a host's own templates are its own affair
        return
    for name in app.jinja_env.list_templates(
        filter_func=lambda name: name.startswith(("demo/", "record_presence/"))
    ):
        app.jinja_env.get_template(name)


def post_worker_init(worker: Any) -> None:
    """Keep the garbage collector out of the way; let the streams of a stopping worker end.

    Scanning everything that is loaded takes the collector 50 ms or more, during which nobody is
    answered, and it finds nothing.
    """
    extensions = getattr(worker.wsgi, "extensions", {})
    if presence := extensions.get("record_presence"):
        presence.broadcast.is_draining = lambda: not worker.alive
        presence.is_draining = draining.is_draining
        _prepare(worker.wsgi)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    timeouts.accept_one_by_one()
    # Ctrl-C reaches the workers as well as the master, which then sends them SIGQUIT.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def pre_request(worker: Any, req: Any) -> None:
    """Start the timeouts of a request, and close the connection of a stream when the stream ends.

    A client that reconnects then may reach another process, one that is not stopping. While this one
    drains, every connection is closed after its answer.
    """
    timeouts.start(req)
    if req.path.endswith("/presence/events") or draining.is_draining():
        req.force_close()


def post_request(worker: Any, req: Any) -> None:
    """Clear the timeouts that pre_request has set; let others have their turn."""
    timeouts.clear(req)
    timeouts.let_others_have_their_turn(req)


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a process that has ended.

    By hand: prometheus_client must not be imported here, before gevent has patched what it imports.
    """
    if directory := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        for path in Path(directory).glob(f"gauge_live*_{worker.pid}.db"):
            path.unlink(missing_ok=True)


def on_exit(server: Any) -> None:
    """Remove the folder that on_starting made."""
    if directory := getattr(server, "metrics_directory", None):
        shutil.rmtree(directory, ignore_errors=True)
