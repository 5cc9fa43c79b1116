"""Tokens without a signature, as a broker without keys takes them, and an OAuth server that gives them out."""

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLIENT, SECRET = "l07:consumer", "s/e c"  # both must be quoted in the login (RFC 6749, section 2.3.1)


def token(seconds: int = 3600) -> str:
    """Of the user `me`."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": "me", "iat": now, "exp": now + seconds})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


@dataclass
class OAuth:
    """Answers client credentials (RFC 6749, section 4.4); `asked` has the form of each request that it granted."""

    url: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    refused: int = 0


@contextmanager
def an_oauth_server() -> Iterator[OAuth]:
    found = OAuth()
    quoted = ":".join(urllib.parse.quote(text, safe="") for text in (CLIENT, SECRET))
    login = "Basic " + base64.b64encode(quoted.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            granted = self.headers["Authorization"] == login and form["grant_type"] == ["client_credentials"]
            if granted:
                found.asked.append(form)
            else:
                found.refused += 1
            said = {"access_token": token(), "token_type": "bearer", "expires_in": 3600} if granted else {}
            body = json.dumps(said or {"error": "invalid_client"}).encode()
            self.send_response(200 if granted else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/token"
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
