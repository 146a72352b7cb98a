"""gunicorn's own log and its access log, as JSON lines."""

import sys
from typing import Any

from gunicorn.glogging import Logger

from .logs import JsonFormatter


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes both logs in the form of `logs.JsonFormatter`."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                handler.setFormatter(JsonFormatter())

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Leave out the content of an invalid request, which may hold a token or a cookie."""
        if isinstance(msg, str) and msg.startswith("Invalid request from ip="):
            msg = msg.partition(": ")[0]
            error = sys.exc_info()[1]
            msg = f"{msg}: {type(error).__name__ if error else 'unknown'}"
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Leave out what is not our error: slow clients, and idle connections when the process ends.

        Anybody could fill the log with slow requests.
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
