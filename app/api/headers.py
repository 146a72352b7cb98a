"""Headers for browsers: what a page may load, and which other origins may call."""

from collections.abc import Collection

from flask import Flask, Response, request

from ..identity.session import CSRF_HEADER

# No inline script or style, nothing from another host, and no framing.
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
# For a page whose stylesheet draws its arrows by data: URLs.
DATA_IMAGES_POLICY = PAGE_HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' data:")
_ALLOWED_HEADERS = f"Authorization, Content-Type, If-None-Match, Last-Event-ID, {CSRF_HEADER}"
_EXPOSED_HEADERS = "ETag, Retry-After"
_PREFLIGHT_MAX_AGE_SECONDS = "7200"  # the most that Chromium allows


def add_security_headers(response: Response) -> Response:
    """An after_request function: pages get a policy unless they bring their own, and types are not guessed.

    The API's answers already have these headers.
    """
    if response.mimetype == "text/html":
        for name, value in PAGE_HEADERS.items():
            response.headers.setdefault(name, value)
    elif "X-Content-Type-Options" not in response.headers:
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def enable_cors(app: Flask, origins: Collection[str], prefixes: tuple[str, ...]) -> None:
    """Let pages of these origins call the paths below `prefixes`, with cookies and tokens.

    Browsers refuse pages of every other origin by default.
    """
    allowed = frozenset(origins)

    def add_cors_headers(response: Response) -> Response:
        if not request.path.startswith(prefixes):
            return response
        # Even without an Origin, since a cache must not serve that answer to a page of another origin.
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin not in allowed:
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_MAX_AGE_SECONDS
        else:
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
        return response

    app.after_request(add_cors_headers)
