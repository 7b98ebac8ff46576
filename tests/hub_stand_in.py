"""A model hub on loopback: what the hub's own client asks for, with cuts and damage where a test wants them."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".ckpt")  # kept by their SHA-256, as in large-file storage; others by git's hash


@dataclass
class Hub:
    """The stand-in's content and behaviour.

    Attributes:
        repositories: repository -> path -> content.
        cuts: path -> lengths at which a connection ends, each once.
        stalls: path -> length after which the server falls silent until `release` is set.
        damaged: paths of which another content of the same length is sent.
        asked: (path, first byte asked for) of every request for a file.
    """

    repositories: dict[str, dict[str, bytes]]
    cuts: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    knows_ranges: bool = True
    asked: list[tuple[str, int]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def ranges(self, path: str) -> list[int]:
        """Return the first bytes that were asked for of a file."""
        return [start for asked, start in self.asked if asked == path]


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port of loopback."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/(.*))?", path):
            self._tell(match[1], match[2] or COMMIT)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.*)", path):
            files = self.hub.repositories.get(match[1], {})
            if match[2] in files:
                self._send_file(match[2], files[match[2]], with_body=with_body)
            else:
                self._refuse("EntryNotFound")
        else:
            self._refuse("RepoNotFound")

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _tell(self, repository: str, commit: str) -> None:
        if repository not in self.hub.repositories:
            return self._refuse("RepoNotFound")
        siblings = [_sibling(path, content) for path, content in self.hub.repositories[repository].items()]
        body = json.dumps({"id": repository, "sha": commit, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, path: str, content: bytes, *, with_body: bool) -> None:
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["0"])[0])
        self.hub.asked.append((path, start))
        if not self.hub.knows_ranges:
            start = 0
        if path in self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not with_body:
            return
        cuts = self.hub.cuts.get(path, [])
        end = cuts.pop(0) if cuts else self.hub.stalls.get(path, len(content))
        self.wfile.write(content[start:end])
        if end < len(content):
            self.wfile.flush()
            self.close_connection = True
            if path in self.hub.stalls:
                self.hub.release.wait(60)


def _sibling(path: str, content: bytes) -> dict[str, object]:
    told: dict[str, object] = {
        "rfilename": path,
        "size": len(content),
        "blobId": hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest(),
    }
    if path.endswith(LARGE):
        told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return told
