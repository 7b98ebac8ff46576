"""What every answer of the server says about itself, and how often a log-in may fail.

The content security policy lets the page load and run only what the server itself sends. Two things stay open, since
Gradio does not run without: `unsafe-eval`, because its `gr.HTML` compiles templates in the browser, and
`unsafe-inline` for styles, because its components set styles of their own. Inline scripts carry a random word of each
answer (a nonce) or are known by their hash, so markup that got onto the page by some mistake runs no script and no
event attribute.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cnxs.errors import InputError
from cnxs.ui.limits import Rate

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Any, Send], Awaitable[None]]

LOG_INS_PER_MINUTE = 10  # from one address

POLICY = {
    "default-src": "'self'",
    "script-src": " ".join(("'self'", "'nonce-{nonce}'{scripts}", "'unsafe-eval'")),
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self'",
}
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_SCRIPT = re.compile(rb"<script(?=[\s>])")
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Guard:
    """ASGI middleware around the page's server.

    Args:
        app: what it is around.
        head: HTML that the browser puts into the page's head by itself; its scripts are allowed by their hashes.
        log_ins_per_minute: attempts from one address.
    """

    def __init__(self, app: App, *, head: str = "", log_ins_per_minute: int = LOG_INS_PER_MINUTE) -> None:
        self._app = app
        self._scripts = "".join(f" 'sha256-{_digest(script)}'" for script in _INLINE.findall(head))
        self._log_ins = Rate(log_ins_per_minute)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Answer a request, with headers of our own."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].rstrip("/") == "/login" and self._is_too_often(scope):
            await _refuse_log_in(send)
        else:
            await self._app(scope, receive, _Answer(send, self._scripts).send)

    def _is_too_often(self, scope: MutableMapping[str, Any]) -> bool:
        client = scope.get("client")
        return self._log_ins.use(client[0] if client else "") > 0


class _Answer:
    """One answer on its way out. A page is held until it is whole, so that its scripts can be marked."""

    def __init__(self, send: Send, scripts: str) -> None:
        self._send, self._scripts = send, scripts
        self._nonce = secrets.token_urlsafe(16)
        self._held: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            policy = "; ".join(f"{name} {value}" for name, value in POLICY.items())
            policy = policy.format(nonce=self._nonce, scripts=self._scripts)
            added = HEADERS | {"content-security-policy": policy}
            message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in added.items())]
            if any(k.lower() == b"content-type" and v.startswith(b"text/html") for k, v in message["headers"]):
                self._held = message
                return
        elif self._held is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            message = await self._page(self._held)
        await self._send(message)

    async def _page(self, start: Message) -> Message:
        body = _SCRIPT.sub(f'<script nonce="{self._nonce}"'.encode(), self._body)
        headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
        start["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        self._held, self._body = None, b""
        await self._send(start)
        return {"type": "http.response.body", "body": body}


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


async def _refuse_log_in(send: Send) -> None:
    body = json.dumps({"detail": InputError("too_many_log_ins").sentence()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})
