"""Logs as JSON lines, for people and for machines. They name paths, never headers, queries or bodies."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

from gunicorn.glogging import Logger

# Libraries quote what they were given: URLs with their queries, headers with their tokens.
_SECRETS = (
    (re.compile(r"(?i)\bbearer\s+[^\s\"']+|(\beyJ|\.eJ)[\w-]+\.[\w.-]+"), "[token]"),  # sessions as well
    (re.compile(r"://[^\s\"'/@\\]*(:[^\s\"'\\]*)?@"), "://[password]@"),
    (re.compile(r"\?[^\s\"'\\]*=[^\s\"'\\]*"), "?[query]"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, and what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        line = json.dumps(entry, ensure_ascii=False, default=str)
        for secret, mark in _SECRETS:
            line = secret.sub(mark, line)
        return line


def configure_logging() -> None:
    """Send our loggers to standard error; the host's own logging is left alone."""
    logger = logging.getLogger("presence")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


class GunicornLogger(Logger):
    """gunicorn's own log and the access log, in the same form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                handler.setFormatter(JsonFormatter())

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Say that a request was invalid, and not what it was: it may hold a token or a cookie."""
        if isinstance(msg, str) and msg.startswith("Invalid request from ip="):
            msg = msg.partition(": ")[0]
            error = sys.exc_info()[1]
            msg = f"{msg}: {type(error).__name__ if error else 'unknown'}"
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Leave out what is no error of ours.

        Clients that were given up for being slow: anybody could fill the log
        with them. And idle connections that end with their process.
        """
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, TimeoutError):
            super().exception(msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        if not self.access_log_enabled:
            return
        self.access_log.info(
            "request",
            extra={
                "method": environ.get("REQUEST_METHOD"),
                "path": environ.get("PATH_INFO"),
                "status": int(str(resp.status).split(" ", 1)[0]),
                "bytes": resp.sent,
                "ms": round(request_time.total_seconds() * 1000, 2),
                "remote": environ.get("REMOTE_ADDR"),
            },
        )
