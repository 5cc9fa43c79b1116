"""Where the buffer's server is, as `buffer.url` says it. Brings in no client library: the settings are checked with it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from l07.errors import BadSetting

FORMS = "redis://HOST:PORT/DB, rediss://, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT, rediss+cluster://"
SCHEMES = frozenset({"redis", "rediss", "unix", "redis+cluster", "rediss+cluster"})
PORT = 6379
_PASSWORD = re.compile(r"^([a-z+]+://[^:@/]*:).*(@)")


class Node(NamedTuple):
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Access:
    """Who we are, and whom we believe. What the settings say comes before what the URL says."""

    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""  # empty: the system's
    cert_file: str = ""
    key_file: str = ""

    @property
    def files(self) -> dict[str, str]:
        named = {"buffer.ca_file": self.ca_file, "buffer.cert_file": self.cert_file, "buffer.key_file": self.key_file}
        return {name: path for name, path in named.items() if path}


NOBODY = Access()


@dataclass(frozen=True, slots=True)
class Address:
    """One server on TCP or on a Unix socket, or some nodes of a cluster."""

    nodes: tuple[Node, ...] = ()  # none: a Unix socket
    path: str = ""
    db: int = 0
    tls: bool = False
    cluster: bool = False
    access: Access = NOBODY


def masked(url: str) -> str:
    """The URL without its password, for people and logs."""
    return _PASSWORD.sub(r"\1***\2", url)


def address_of(url: str, access: Access = NOBODY) -> Address:
    """Raises BadSetting (E7501): another form, a query that we do not read, a certificate without TLS or without a file."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise _bad(url, f"it is none of {FORMS}")
    address = _unix(url, access) if scheme == "unix" else _tcp(url, scheme, access)
    if access.files and not address.tls:
        raise _bad(url, f"{', '.join(access.files)} without TLS; rediss:// has it")
    for name, path in access.files.items():
        if not Path(path).is_file():
            raise BadSetting(f"{name} = {path!r}: there is no such file", name=name)
    return address


def _unix(url: str, access: Access) -> Address:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.netloc or len(parts.path) < 2 or set(query) - {"db"}:
        raise _bad(url, "a Unix socket is unix:///PATH or unix:///PATH?db=N")
    return Address(path=unquote(parts.path), db=_number(url, query.get("db", "0")), access=access)


def _tcp(url: str, scheme: str, access: Access) -> Address:
    rest = url.partition("://")[2]
    where, _, path = rest.partition("/")
    if set("?#") & set(rest):  # the library reads options there, some of which send a write twice
        raise _bad(url, "options after ? are not read; every one is a setting of its own")
    user, at, hosts = where.rpartition("@")
    cluster = scheme.endswith("+cluster")
    nodes = tuple(_node(url, text) for text in hosts.split(","))
    db = _number(url, path or "0")
    if cluster and db:
        raise _bad(url, "a cluster has only database 0")
    if len(nodes) > 1 and not cluster:
        raise _bad(url, "several nodes are redis+cluster://")
    return Address(nodes, "", db, scheme.startswith("rediss"), cluster, _user(access, user) if at else access)


def _user(access: Access, text: str) -> Access:
    name, _, password = text.partition(":")
    return Access(
        access.username or unquote(name),
        access.password or unquote(password),
        access.ca_file,
        access.cert_file,
        access.key_file,
    )


def _node(url: str, text: str) -> Node:
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, str(PORT)
    if not host.strip("[]"):
        raise _bad(url, "a host is missing")
    number = _number(url, port)
    if not 0 < number < 65536:
        raise _bad(url, f"{number} is no port")
    return Node(host.strip("[]"), number)


def _number(url: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise _bad(url, "a port or the database is no number; in a password / is %2F and @ is %40")
    return int(text)


def _bad(url: str, why: str) -> BadSetting:
    return BadSetting(f"buffer.url = {masked(url)!r}: {why}", name="buffer.url")
