"""Who is asking: whose jobs and pictures a request may see, and against whose limits it counts."""

import hashlib
import secrets
from typing import Any

import gradio as gr

TOKEN_LENGTH = (32, 64)  # characters of a browser's token


def owner_of(request: gr.Request | None, token: Any) -> str:
    """Return whose jobs and pictures a request may see.

    With accounts it is the logged-in user, whatever the browser says. Without, it is the browser's own token if that
    is one that nobody can guess, else a new one. No token is as long as a user's name for it, so none can claim one.
    """
    if request is not None and request.username:
        return "user:" + hashlib.sha256(request.username.encode("utf-8", "replace")).hexdigest()
    fits = isinstance(token, str) and TOKEN_LENGTH[0] <= len(token) <= TOKEN_LENGTH[1]
    return token if fits else secrets.token_urlsafe(24)


def client_of(request: gr.Request | None) -> str:
    """Return against whose limits a request counts: the logged-in user, else the address it came from."""
    if request is not None and request.username:
        return f"user:{request.username}"
    client = getattr(request, "client", None)
    return str(getattr(client, "host", None) or "")
