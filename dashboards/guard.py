"""Who may look: the Host and Origin of every request, a token for other machines, and headers that keep pages apart."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from flask import Flask, Response, abort, redirect, request

_COOKIE = "gradlab"


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``.

    Example:
        >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Token:
    """Admission for other machines: an address that works once, and from then on a cookie.

    Attributes:
        once: what the printed address carries; empty after its use.
    """

    def __init__(self) -> None:
        self.once = secrets.token_urlsafe(24)
        self._cookie = secrets.token_urlsafe(32)

    def admit(self) -> Response | None:
        """Lets the request pass, or answers it.

        Raises:
            HTTPException: 401 when it brings neither the token nor the cookie.
        """
        if hmac.compare_digest(request.cookies.get(_COOKIE, "").encode(), self._cookie.encode()):
            return None
        offered = request.args.get("token", "")
        if self.once and offered and hmac.compare_digest(offered.encode(), self.once.encode()):
            self.once = ""
            answer = redirect("/")
            answer.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="Strict")
            return answer  # type: ignore[return-value]
        return abort(401, "Open the address that gradlab printed when it started; it works once, in one browser.")


def protect(server: Flask, host: str, script_hashes: list[str], token: Token | None) -> None:
    """Puts the checks and the headers on every request and answer.

    Args:
        server: the Flask application.
        host: the address it will listen on.
        script_hashes: hashes of the inline scripts that the page needs.
        token: admission for other machines; None when only this machine can reach it.
    """
    if is_local(host):
        # A web site whose name is made to point at 127.0.0.1 sends its own name as Host.
        server.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {' '.join(script_hashes)}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "manifest-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )

    @server.before_request
    def check() -> Response | None:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return abort(403, "The request comes from another page.")
        return token.admit() if token is not None else None

    @server.after_request
    def headers(answer: Response) -> Response:
        answer.headers["Content-Security-Policy"] = policy
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["X-Frame-Options"] = "DENY"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return answer
