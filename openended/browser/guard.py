"""Who may ask: known hosts, no foreign origin, a token off loopback; and a strict content security policy on every answer."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "openended_token"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def policy(scripts: Iterable[str] = ()) -> str:
    """The content security policy: this server only; ``scripts``: hashes of what may stand in a page itself."""
    allowed = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in scripts)])
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


class Guard:
    """ASGI middleware round the whole application. hosts: names by which it may be called; token: asked for unless ''."""

    def __init__(self, app: Any, hosts: Iterable[str], token: str = "", scripts: Iterable[str] = ()):
        self.app, self.hosts, self.token = app, {host.lower() for host in hosts}, token
        self.headers = {
            b"content-security-policy": policy(scripts).encode(),
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"cross-origin-resource-policy": b"same-origin",
            b"cross-origin-opener-policy": b"same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with a sentence."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        code, why = self._refusal(scope, headers)
        if code:
            await self._say(send, code, why)
            return
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")
        if self.token and given:
            await self._welcome(scope, send)
            return

        async def out(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                extra = [(name, value) for name, value in self.headers.items() if name not in own]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self.app(scope, receive, out)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, str]:
        host = headers.get(b"host", "")
        if _name(host) not in self.hosts:
            return 421, "This server does not answer to that host name.\n"
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            return 403, "Requests from pages of other origins are refused.\n"
        if (
            headers.get(b"sec-fetch-site", "none") in ("cross-site", "same-site")
            and headers.get(b"sec-fetch-mode") != "navigate"
        ):
            return 403, "Requests from pages of other origins are refused.\n"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This server only reads: GET and HEAD.\n"
        if self.token and not self._knows(scope, headers):
            return 401, "A token is needed: open the address that `openended browse` printed.\n"
        return 0, ""

    def _knows(self, scope: Scope, headers: dict[bytes, str]) -> bool:
        given = [dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")]
        try:
            cookies = SimpleCookie(headers.get(b"cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        given += [cookies[COOKIE].value] if COOKIE in cookies else []
        return any(hmac.compare_digest(one.encode(), self.token.encode()) for one in given)

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """The token goes from the address into a cookie, so that it is not in links and histories."""
        rest = urlencode([pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != "token"])
        path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/")
        cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", f"{path}{'?' if rest else ''}{rest}".encode("latin-1")), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": [*headers, *self.headers.items()]})
        await send({"type": "http.response.body", "body": b""})

    async def _say(self, send: Send, code: int, sentence: str) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *self.headers.items()]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": sentence.encode()})


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets; '' for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
