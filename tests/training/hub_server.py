"""A hub on this machine: it answers what the hub's client asks for, from a folder, and remembers what was asked."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """`refuses`: the error code that the hub answers with, as its header says it ("GatedRepo"). `lies`: files that come with
    another content than the list of files says."""

    folder: Path
    repo: str = "maker/base"
    refuses: str = ""
    status: int = 403
    lies: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    @property
    def name(self) -> str:
        return f"{self.repo}@{COMMIT}"


class _Answer(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.hub
        path = urlsplit(self.path).path
        hub.asked.append(path)
        if hub.refuses:
            self._send(hub.status, b"{}", {"X-Error-Code": hub.refuses}, with_body)
        elif path == f"/api/models/{hub.repo}/tree/{COMMIT}":
            self._send(200, json.dumps(_tree(hub.folder)).encode(), {"Content-Type": "application/json"}, with_body)
        elif path.startswith(f"/{hub.repo}/resolve/{COMMIT}/"):
            file = hub.folder / path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/")
            content = file.read_bytes()
            if file.name in hub.lies:
                content = bytes([content[0] ^ 1]) + content[1:]
            self._send(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{_oid(file)}"'}, with_body)
        else:
            wrong = "RevisionNotFound" if f"/{hub.repo}/" in path else "RepoNotFound"
            self._send(404, b"{}", {"X-Error-Code": wrong}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _tree(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": name})
            continue
        file: dict[str, object] = {"type": "file", "oid": _oid(path), "size": path.stat().st_size, "path": name}
        if path.suffix in (".safetensors", ".bin"):
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            file["lfs"] = {"oid": sha, "size": path.stat().st_size, "pointerSize": 134}
        found.append(file)
    return found


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
