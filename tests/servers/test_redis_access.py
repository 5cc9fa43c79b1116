"""TLS, users, and what must never be printed; on real servers."""

import datetime
import ipaddress
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from l07.backends.address import Access, address_of, masked
from l07.backends.open import open_buffer
from l07.backends.redis.cluster import connect_shards
from l07.backends.redis.sharded import ShardedBuffer, open_shards
from l07.cli import main
from l07.errors import BadSetting, BufferForbidden, BufferNotDurable, BufferNotTrusted, BufferUnavailable, L07Error
from l07.settings import load_settings
from tests.contracts.buffer_kit import RULES, TRACES, Feeder, a_batch, a_broken, a_scored_trace, sealing_at
from tests.contracts.shard_kit import CONTRACT, SHARDS, Unnamed
from tests.servers.redis_kit import KINDS, Server, a_cluster, free_ports, one_server

pytestmark = pytest.mark.server
SECRET = "s3cret/with@signs:in-it"
DOCS = Path(__file__).parents[2] / "docs" / "redis.md"
globals().update({name: test for name, test in CONTRACT.items() if "client" not in test.__code__.co_varnames})


def acl_line() -> list[str]:
    """The line of the documentation, as words."""
    found = re.search(r"^ACL SETUSER .*$", DOCS.read_text("utf-8"), flags=re.M)
    assert found
    return [word.replace("SECRET", SECRET) for word in found[0].split()]


async def let_in(server: Server, *without: str) -> None:
    """A user with what the documentation says, but these."""
    words = [word for word in acl_line() if word not in without and not (server.kind == "redis" and "waitaof" in word)]
    async with server.client() as client:
        await client.flushall()
        await client.execute_command(*words)
        await client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all")


def as_user(server: Server, user: str = "l07", password: str = SECRET) -> list[Any]:
    return connect_shards(address_of(f"redis://127.0.0.1:{server.port}", Access(user, password)), "t", SHARDS)


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    async with one_server(request.param, tmp_path) as server:
        yield server


# ------------------------------------------------------------------ the user


@pytest.fixture
async def clients(server: Server) -> AsyncIterator[list[Any]]:
    await let_in(server)
    clients = as_user(server)
    yield clients
    await clients[0].aclose()


@pytest.fixture
async def buffer(clients: list[Any]) -> ShardedBuffer:
    """So the whole contract runs as this user."""
    return await Unnamed.open(clients, "t", RULES)


@pytest.fixture
def feed(buffer: Any) -> Feeder:
    return Feeder(buffer)


async def test_the_user_does_all_there_is_to_do(clients: list[Any]) -> None:
    buffer = await ShardedBuffer.open(clients, "t", sealing_at(SHARDS))
    await buffer.begin({TRACES: 0})
    applied = await buffer.apply(a_batch((TRACES, [a_broken(), *(a_scored_trace(str(n)) for n in range(9))])))
    await buffer.tick(now_ms=1, at_end=[TRACES])
    for batch_id in applied.sealed:
        await buffer.read(batch_id)
        await buffer.release(batch_id)
    await buffer.sent([entry.id for entry in await buffer.outbox(limit=99)])
    await buffer.reset({TRACES: 3})
    assert (await buffer.status()).outbox == 0
    assert (await buffer.memory()).used > 0


@pytest.mark.parametrize("word", ["+xadd", "+hset", "+zrem", "+unlink", "+hsetnx", "+xdel", "~{l07:*"])
async def test_a_right_that_is_missing_is_said_before_anything_is_written(server: Server, word: str) -> None:
    await let_in(server, word)
    clients = as_user(server)
    with pytest.raises(BufferForbidden, match="ermissions" if word.startswith("~") else word[1:].upper()):
        await open_shards(clients, "t", RULES)
    await clients[0].aclose()
    async with server.client() as client:
        assert await client.dbsize() == 0


NOT_EVERYWHERE = ("+waitaof", "+cluster|slots", "+config|get")


async def test_every_word_of_the_line_is_needed(server: Server) -> None:
    for word in acl_line():
        if word.startswith(("+", "~")) and word not in NOT_EVERYWHERE:
            await let_in(server, word)
            clients = as_user(server)
            with pytest.raises(BufferForbidden):
                await opened_and_read(clients)
            await clients[0].aclose()


@pytest.mark.parametrize("word", ["+fcall", "+function|load", "+info", "+multi"])
async def test_a_command_without_keys_that_is_forbidden_stops_too(server: Server, word: str) -> None:
    await let_in(server, word)
    clients = as_user(server)
    with pytest.raises(BufferForbidden, match=r"E7457.*(ermissions|MULTI)"):
        await opened_and_read(clients)
    await clients[0].aclose()


async def opened_and_read(clients: list[Any]) -> None:
    buffer = await open_shards(clients, "t", RULES)
    await buffer.status()


async def test_where_config_is_forbidden_info_is_enough_for_what_it_says(tmp_path: Path) -> None:
    async with one_server("valkey", tmp_path) as server:
        await let_in(server, "+config|get")
        clients = as_user(server)
        await open_shards(clients, "t", RULES)
        async with server.client() as client:
            await client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(L07Error, match="E7452"):
            await open_shards(clients, "t", RULES)
        await clients[0].aclose()


async def test_where_config_is_forbidden_and_there_is_no_barrier_it_is_said(tmp_path: Path) -> None:
    async with one_server("redis", tmp_path) as server:
        await let_in(server, "+config|get")
        clients = as_user(server)
        with pytest.raises(BufferNotDurable, match="CONFIG GET forbidden"):
            await open_shards(clients, "t", RULES)
        await clients[0].aclose()


@pytest.mark.parametrize("user", ["l07", "default", "nobody"])
async def test_a_wrong_password_stops_and_is_not_repeated(server: Server, user: str) -> None:
    await let_in(server)
    async with server.client() as client:
        await client.execute_command("ACL", "SETUSER", "default", "resetpass", f">{SECRET}")
        clients = as_user(server, user, "not-the-secret")
        with pytest.raises(BufferForbidden) as raised:
            await open_shards(clients, "t", RULES)
        assert "not-the-secret" not in f"{raised.value!r} {raised.value.context}"
        await clients[0].aclose()


async def test_no_password_where_one_is_needed(server: Server) -> None:
    async with server.client() as client:
        await client.execute_command("ACL", "SETUSER", "default", "resetpass", f">{SECRET}")
    clients = connect_shards(address_of(f"redis://127.0.0.1:{server.port}"), "t", 1)
    with pytest.raises(BufferForbidden, match=r"E7457.*authenticated"):
        await open_shards(clients, "t", RULES)
    await clients[0].aclose()


# ------------------------------------------------------------------ TLS


@dataclass(frozen=True)
class Certificates:
    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def server(self, of: str = "server", *, clients: str = "no") -> tuple[str, ...]:
        own = ("--tls-cert-file", self.path(f"{of}.crt"), "--tls-key-file", self.path(f"{of}.key"))
        return (*own, "--tls-ca-cert-file", self.path("ca.crt"), "--tls-auth-clients", clients)

    def access(self, of: str = "") -> Access:
        own = (self.path(f"{of}.crt"), self.path(f"{of}.key")) if of else ("", "")
        return Access("", "", self.path("ca.crt"), *own)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Two authorities; of the first a server, a server of another name and a client; of the second a client."""
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    ca, stranger = _authority(made, "ca"), _authority(made, "stranger")
    _signed(made, ca, "server", ["localhost"], ["127.0.0.1"])
    _signed(made, ca, "other", ["elsewhere.example"], [])
    _signed(made, ca, "client", ["client"], [])
    _signed(made, stranger, "spy", ["spy"], [])
    return made


Signer = tuple[x509.Name, ec.EllipticCurvePrivateKey]


def _authority(made: Certificates, name: str) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    _write(made, name, _builder(subject, subject, key).add_extension(x509.BasicConstraints(True, None), True), key, key)
    return subject, key


def _signed(made: Certificates, by: Signer, name: str, names: list[str], addresses: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    known = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, by[0], key).add_extension(x509.SubjectAlternativeName(known), False)
    _write(made, name, builder, key, by[1])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)


def _write(
    made: Certificates,
    name: str,
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
) -> None:
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    Path(made.path(f"{name}.crt")).write_bytes(builder.sign(by, hashes.SHA256()).public_bytes(pem))
    Path(made.path(f"{name}.key")).write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


async def tried(tmp_path: Path, options: tuple[str, ...], access: Access, *, host: str = "127.0.0.1") -> None:
    """Open a buffer on a server that speaks only TLS."""
    server = Server("redis", tmp_path / "tls", 0, options, free_ports(1)[0])
    try:
        server.start()
        await server.listens()
        clients = connect_shards(address_of(f"rediss://{host}:{server.tls_port}", access), "t", SHARDS)
        try:
            buffer = await open_shards(clients, "t", RULES)
            await buffer.apply(a_batch((TRACES, [a_scored_trace("1")])))
            assert (await buffer.positions())[TRACES].next == 1
        finally:
            await clients[0].aclose()
    finally:
        server.kill()


async def test_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    for host in ("127.0.0.1", "localhost"):
        await tried(tmp_path / host, certificates.server(), certificates.access(), host=host)


async def test_over_tls_with_our_own_certificate(tmp_path: Path, certificates: Certificates) -> None:
    await tried(tmp_path, certificates.server(clients="yes"), certificates.access("client"))


@pytest.mark.parametrize(
    ("of", "clients", "access"),
    [
        ("server", "no", ""),
        ("server", "no", "system"),
        ("other", "no", ""),
        ("server", "yes", ""),
        ("server", "yes", "spy"),
    ],
    ids=["unknown authority", "not of the system's", "another name", "no certificate of ours", "ours of a stranger"],
)
async def test_certificates_that_do_not_fit_stop_us(
    tmp_path: Path, certificates: Certificates, of: str, clients: str, access: str, request: pytest.FixtureRequest
) -> None:
    known = certificates.access(access if access == "spy" else "")
    if "unknown" in request.node.name:
        known = Access("", "", certificates.path("stranger.crt"))
    if access == "system":
        known = Access()
    with pytest.raises(BufferNotTrusted, match="E7473"):
        await tried_until_told(tmp_path, certificates.server(of, clients=clients), known)


async def tried_until_told(tmp_path: Path, options: tuple[str, ...], access: Access) -> None:
    """A server that wants a certificate of ours may hang up before we have read why; as the runner, we come again."""
    for attempt in range(20):
        with suppress(BufferUnavailable):
            await tried(tmp_path / str(attempt), options, access)


async def test_tls_and_none_wait_for_each_other(tmp_path: Path, certificates: Certificates) -> None:
    """Neither says what it is: it cannot be told from a server that is away, so it is tried again."""
    server = Server("redis", tmp_path, free_ports(2)[0], certificates.server(), free_ports(2)[1])
    try:
        server.start()
        await server.listens()
        for url in (f"rediss://127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.tls_port}"):
            access = certificates.access() if url.startswith("rediss") else Access()
            clients = connect_shards(address_of(url, access), "t", 1)
            with pytest.raises(BufferUnavailable):
                await open_shards(clients, "t", RULES)
            await clients[0].aclose()
    finally:
        server.kill()


async def test_a_cluster_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    tls = (*certificates.server(), "--tls-replication", "yes", "--tls-cluster", "yes")
    async with a_cluster("redis", tmp_path, *tls, tls=True) as nodes:
        clients = connect_shards(address_of(nodes.tls_url, certificates.access()), "default", SHARDS)
        buffer = await open_shards(clients, "default", RULES)
        await buffer.apply(a_batch((TRACES, [a_scored_trace(str(n)) for n in range(9)])))
        assert (await buffer.status()).ready == {"default": {"ACCEPT": 9, "REJECT": 0}}
        await clients[0].aclose()


# ------------------------------------------------------------------ nothing is printed


URL = "redis://l07:pass-word@127.0.0.1:1/0"


async def test_no_error_and_no_log_holds_the_password(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    settings = load_settings({}, overrides={"buffer.url": URL, "data_dir": str(tmp_path)}).settings
    with pytest.raises(BufferUnavailable) as raised:
        async with open_buffer(settings):
            pass
    chain: BaseException | None = raised.value
    while chain is not None:
        assert "pass-word" not in f"{chain} {chain!r}"
        chain = chain.__cause__ or chain.__context__
    assert "pass-word" not in caplog.text
    assert "pass-word" not in repr(address_of(URL))


@pytest.mark.parametrize(
    "url",
    [
        "redis://l07:pass-word@host:port/0",
        "redis://l07:pass-word@host/x",
        "redis://l07:pass-word@/0",
        "redis://:pass-word@host?retry_on_timeout=yes",
        "http://l07:pass-word@host",
        "redis+cluster://u:pass-word@a:1,b:2/3",
        "redis://u:pass-word@a:1,b:2",
        "redis://u:pass-word@with/slash@host:99999",
    ],
)
def test_no_bad_url_is_told_with_its_password(url: str) -> None:
    with pytest.raises(BadSetting) as raised:
        address_of(url)
    assert "pass-word" not in str(raised.value)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_config_show_masks_what_is_secret(
    form: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("L07_BUFFER__URL", URL)
    monkeypatch.setenv("L07_BUFFER__PASSWORD", "pass-word-too")
    assert main(["config", "show", *form]) == 0
    said = capsys.readouterr().out
    assert "pass-word" not in said
    assert "redis://l07:***@127.0.0.1:1/0" in said
    if form:
        rows = {row["name"]: row["value"] for row in json.loads(said)["settings"]}
        assert rows["buffer.password"] == "***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host/0", "redis://host/0"),
        ("redis://:pw@host", "redis://:***@host"),
        ("rediss+cluster://u:p@w@a:1,b:2", "rediss+cluster://u:***@a:1,b:2"),
        ("redis://u:p/w@host/0", "redis://u:***@host/0"),
        ("unix:///tmp/s", "unix:///tmp/s"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown
