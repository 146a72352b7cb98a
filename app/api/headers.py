"""Headers for browsers: what a page may load, and which other origins may call."""

from collections.abc import Collection

from flask import Flask, Response, request

from app.identity.session import CSRF_HEADER

# No inline script or style, nothing of another host, in nobody's frame.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers older than frame-ancestors
}
_SENT = f"Authorization, Content-Type, If-None-Match, Last-Event-ID, {CSRF_HEADER}"
_READ = "ETag, Retry-After"
_PREFLIGHT_SECONDS = "7200"  # as long as Chromium remembers


def secure(response: Response) -> Response:
    """An after_request function: pages get their policy; a file's type is not guessed.

    The API's answers have their headers from the start.
    """
    if response.mimetype == "text/html":
        response.headers.update(PAGE_HEADERS)
    elif "X-Content-Type-Options" not in response.headers:
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def share_with(app: Flask, origins: Collection[str], prefixes: tuple[str, ...]) -> None:
    """Let pages of these origins call the paths below `prefixes`, with cookies and tokens.

    All other origins are left to the browser's rule, which is no.
    """
    allowed = frozenset(origins)

    def share(response: Response) -> Response:
        if not request.path.startswith(prefixes):
            return response
        # Also without an Origin: a cache must not hand that answer to a page of another origin.
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin not in allowed:
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = _SENT
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        else:
            response.headers["Access-Control-Expose-Headers"] = _READ
        return response

    app.after_request(share)
