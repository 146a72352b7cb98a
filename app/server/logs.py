"""Logs as JSON lines. They hold paths, never headers, queries or bodies."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

# Libraries quote their input in messages: URLs with their queries, headers with their tokens.
_REDACTIONS = (
    (re.compile(r"(?i)\bbearer\s+[^\s\"']+|(\beyJ|\.eJ)[\w-]+\.[\w.-]+"), "[token]"),  # a session cookie too
    (re.compile(r"://[^\s\"'/@\\]*(:[^\s\"'\\]*)?@"), "://[password]@"),
    (re.compile(r"\?[^\s\"'\\]*=[^\s\"'\\]*"), "?[query]"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One object for each record: time, level, logger, message, and everything passed as `extra`."""

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
        for secret, replacement in _REDACTIONS:
            line = secret.sub(replacement, line)
        return line


def configure_logging() -> None:
    """Send our loggers to standard error, and leave the host's own logging alone."""
    logger = logging.getLogger("presence")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
