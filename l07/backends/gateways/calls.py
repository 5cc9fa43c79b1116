"""One HTTP endpoint of a gateway. The key goes into a header of this host alone: no redirect is followed, nothing is logged."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NoReturn
from urllib.parse import urlsplit

from l07.errors import BadExport, GatewayRefused

TIMEOUT_S = 60.0  # a gateway reads an adapter from its disk meanwhile
MOST = 1 << 24  # bytes of an answer
SAID = 300  # characters of a refusal that are shown


def is_url(to: str) -> bool:
    return to.startswith(("http://", "https://"))


class Endpoint:
    """`url` is the gateway's root, as in http://127.0.0.1:8000; `key` its bearer token, empty: none.

    Raises: BadExport E7921, a URL with a name, a password or a query."""

    def __init__(self, url: str, key: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
            host = parts.hostname or "no host"
            raise BadExport(
                f"the URL of {host} is to be a plain root, such as http://127.0.0.1:8000; keys come from the environment"
            )
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key, self._timeout_s = key, timeout_s
        self._opener = urllib.request.build_opener(_Stay)

    def get(self, path: str) -> Any:
        """Raises GatewayRefused E7217, also where the answer is no JSON."""
        raw = self._call(urllib.request.Request(self.url + path, headers=self._headers()))  # http(s) only, see is_url
        try:
            return json.loads(raw)
        except ValueError as err:
            raise GatewayRefused(f"{self.url}{path} answered something that is no JSON", url=self.url) from err

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Raises GatewayRefused E7217."""
        headers = {**self._headers(), "Content-Type": "application/json"}
        self._call(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers, method="POST"))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _call(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return bytes(answer.read(MOST))
        except urllib.error.HTTPError as err:
            self._refuse(request, f"said {err.code}{self._told(err)}", err)
        except (OSError, HTTPException) as err:
            self._refuse(request, f"did not answer: {type(err).__name__}", err)

    def _refuse(self, request: urllib.request.Request, what: str, err: Exception) -> NoReturn:
        raise GatewayRefused(f"{request.get_method()} {request.full_url} {what}", url=self.url) from err

    def _told(self, err: urllib.error.HTTPError) -> str:
        """What it said; of a refused key nothing, because some gateways repeat it."""
        if err.code in (401, 403):
            return ": the key was refused"
        try:
            text = err.read(4 * SAID).decode("utf-8", "replace")
        except (OSError, HTTPException):
            return ""
        text = text.replace(self._key, "***") if self._key else text
        text = "".join(char if char.isprintable() else " " for char in text)
        return f": {text[:SAID]}" if text.strip() else ""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
