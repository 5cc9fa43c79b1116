"""Tokens of OAUTHBEARER: out of a file that something else keeps fresh, or from an OAuth server by client credentials."""

import asyncio
import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider

from l07.settings.servers import Kafka

TIMEOUT_S = 10.0
FRESH = 0.8  # of its life a token is used for; then another is fetched


class TokenUnreadable(OSError):
    """An OSError, because that is what the clients expect of a connection that cannot be made."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused  # the OAuth server said no, or the file is not there: another try changes nothing


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    until: float  # seconds since 1970; after it another is fetched


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """A token that is fresh enough, fetched at most once at a time."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._kept = Token("", 0.0)
        self._one = asyncio.Lock()

    async def token(self) -> str:
        """Raises TokenUnreadable."""
        async with self._one:
            if time.time() >= self._kept.until:
                self._kept = await asyncio.to_thread(fetch_token, self._kafka)
            return self._kept.text


def fetch_token(kafka: Kafka) -> Token:
    """Blocks. Raises TokenUnreadable."""
    return _from_file(Path(kafka.token_file)) if kafka.token_file else _from_server(kafka)


def _from_file(path: Path) -> Token:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise TokenUnreadable(f"the token file {path} cannot be read: {err}", refused=True) from err
    if not text:
        raise TokenUnreadable(f"the token file {path} is empty", refused=True)
    return Token(text, 0.0)  # read again at each connection


def _from_server(kafka: Kafka) -> Token:
    """RFC 6749, section 4.4: grant_type=client_credentials, the client in the Authorization header."""
    form = {"grant_type": "client_credentials"} | ({"scope": kafka.token_scope} if kafka.token_scope else {})
    quoted = (urllib.parse.quote(text, safe="") for text in (kafka.token_client_id, _secret(kafka)))
    login = base64.b64encode(":".join(quoted).encode()).decode()
    request = urllib.request.Request(
        kafka.token_url, urllib.parse.urlencode(form).encode(), {"Authorization": f"Basic {login}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            said = json.loads(answer.read(1_000_000))
            return Token(said["access_token"], time.time() + FRESH * float(said.get("expires_in", 0)))
    except urllib.error.HTTPError as err:
        raise TokenUnreadable(f"{kafka.token_url} answered {err.code}", refused=400 <= err.code < 500) from err
    except OSError as err:
        raise TokenUnreadable(f"{kafka.token_url} did not answer: {err}", refused=False) from err
    except (ValueError, KeyError, TypeError) as err:
        raise TokenUnreadable(f"{kafka.token_url} did not answer with an access_token", refused=True) from err


def _secret(kafka: Kafka) -> str:
    return kafka.token_client_secret.get_secret_value()
