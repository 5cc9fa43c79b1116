"""TLS and SASL against real brokers, and that a login that is refused is no outage."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from l07.errors import BusForbidden, BusLoginRefused
from tests.servers.kafka_kit import Begin, a_bus, gather_records, messages
from tests.servers.kafka_server import Broker, HomeBroker
from tests.servers.kafka_topics import make_topics
from tests.servers.login_kit import CLIENT, SECRET, an_oauth_server, token

PASSWORD = "correct horse"
MODULE = "org.apache.kafka.common.security"
JAAS = "listener.name.client.{mechanism}.sasl.jaas.config"


async def round_trip(broker: HomeBroker, unique: str, **kafka: str) -> None:
    await make_topics(f"127.0.0.1:{broker.internal}", {unique: 2})
    async with (
        a_bus(broker.address, **kafka) as bus,
        bus.subscribe([unique], group="l07.g", start=Begin()) as sub,
    ):
        await bus.publish(messages(unique, 5))
        assert len(await gather_records(sub, 5)) == 5
        assert sum((await bus.end_offsets([unique])).values()) == 5


async def refused(broker: Broker, match: str, **kafka: str) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(BusLoginRefused, match=match) as said:
            async with a_bus(broker.address, **kafka):
                pass
    assert "wrong" not in str(said.value)


async def test_plain(home_broker: Callable[..., HomeBroker], unique: str) -> None:
    jaas = f'{MODULE}.plain.PlainLoginModule required user_me="{PASSWORD}";'
    extra = {"sasl.enabled.mechanisms": "PLAIN", JAAS.format(mechanism="plain"): jaas}
    broker = await asyncio.to_thread(lambda: home_broker(security="SASL_PLAINTEXT", extra=extra))
    login = {"security": "SASL_PLAINTEXT", "username": "me", "password": PASSWORD}
    await round_trip(broker, unique, **login)
    await refused(broker, "E7410.*SaslAuthenticationFailed", **login | {"password": "wrong"})
    scram = login | {"sasl_mechanism": "SCRAM-SHA-512"}
    await refused(broker, "E7410.*UnsupportedSaslMechanism", **scram)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_scram(home_broker: Callable[..., HomeBroker], unique: str, mechanism: str) -> None:
    jaas = f"{MODULE}.scram.ScramLoginModule required;"
    extra = {"sasl.enabled.mechanisms": mechanism, JAAS.format(mechanism=mechanism.lower()): jaas}
    broker = await asyncio.to_thread(lambda: home_broker(security="SASL_PLAINTEXT", extra=extra))
    broker.tool(
        "kafka.admin.ConfigCommand", "--bootstrap-server", f"127.0.0.1:{broker.internal}", "--alter",
        "--add-config", f"{mechanism}=[password={PASSWORD}]", "--entity-type", "users", "--entity-name", "me",
    )  # fmt: skip
    login = {"security": "SASL_PLAINTEXT", "sasl_mechanism": mechanism, "username": "me", "password": PASSWORD}
    await round_trip(broker, unique, **login)
    await refused(broker, "E7410", **login | {"password": "wrong"})


def taking_tokens(home_broker: Callable[..., HomeBroker]) -> HomeBroker:
    jaas = f'{MODULE}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
    handler = f"{MODULE}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
    extra = {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        JAAS.format(mechanism="oauthbearer"): jaas,
        "listener.name.client.oauthbearer.sasl.server.callback.handler.class": handler,
    }
    return home_broker(security="SASL_PLAINTEXT", extra=extra)


async def test_a_token_out_of_a_file(home_broker: Callable[..., HomeBroker], unique: str, tmp_path: Path) -> None:
    broker = await asyncio.to_thread(taking_tokens, home_broker)
    file = tmp_path / "token"
    file.write_text(token() + "\n")
    login = {"security": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER", "token_file": str(file)}
    await round_trip(broker, unique, **login)
    file.write_text(token(-3600))
    await refused(broker, "E7410", **login)
    file.unlink()
    await refused(broker, r"E7410.*token file", **login)


async def test_a_token_from_an_oauth_server(home_broker: Callable[..., HomeBroker], unique: str) -> None:
    broker = await asyncio.to_thread(taking_tokens, home_broker)
    with an_oauth_server() as oauth:
        login = {"security": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER", "token_url": oauth.url,
                 "token_client_id": CLIENT, "token_client_secret": SECRET, "token_scope": "kafka"}  # fmt: skip
        await round_trip(broker, unique, **login)
        assert {form["scope"][0] for form in oauth.asked} == {"kafka"}
        assert len(oauth.asked) <= 6, "a token is kept while it is fresh: one for each client object"
        await refused(broker, r"E7410.*answered 401", **login | {"token_client_secret": "wrong"})
        assert oauth.refused


# ------------------------------------------------------------------ TLS


def certificates(folder: Path) -> Mapping[str, str]:
    """A CA, the broker's key and certificate, and another CA that signed nothing here: PEM texts and files."""
    pem: dict[str, str] = {}
    for name in ("ca", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem[name] = _signed(name, key.public_key(), name, key, ca=True)
        (folder / f"{name}.pem").write_text(pem[name])
        if name == "ca":
            own = ec.generate_private_key(ec.SECP256R1())
            pem["cert"] = _signed("127.0.0.1", own.public_key(), "ca", key, ca=False)
            pem["key"] = own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
            for part in ("cert", "key"):
                (folder / f"{part}.pem").write_text(pem[part])
    return pem


def _signed(
    subject: str, public: ec.EllipticCurvePublicKey, issuer: str, key: ec.EllipticCurvePrivateKey, *, ca: bool
) -> str:
    now = datetime.now(UTC)
    name = {text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)}
    made = (
        x509.CertificateBuilder()
        .subject_name(name[subject])
        .issuer_name(name[issuer])
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


async def test_tls_and_a_certificate_of_our_own(
    home_broker: Callable[..., HomeBroker], unique: str, tmp_path: Path
) -> None:
    pem = certificates(tmp_path)
    extra = {
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.key": pem["key"],
        "listener.name.client.ssl.keystore.certificate.chain": pem["cert"],
        "listener.name.client.ssl.truststore.type": "PEM",
        "listener.name.client.ssl.truststore.certificates": pem["ca"],
        "listener.name.client.ssl.client.auth": "required",
    }
    broker = await asyncio.to_thread(lambda: home_broker(security="SSL", extra=extra))
    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "other", "cert", "key")}
    login = {"security": "SSL", "ca_file": files["ca"], "cert_file": files["cert"], "key_file": files["key"]}
    await round_trip(broker, unique, **login)
    await refused(broker, "E7410.*[Cc][Ee][Rr][Tt]", **login | {"ca_file": files["other"]})
    await refused(broker, "E7410.*[Cc][Ee][Rr][Tt]", security="SSL", ca_file=files["ca"])


async def test_a_user_without_rights_is_told_so(home_broker: Callable[..., HomeBroker], unique: str) -> None:
    jaas = f'{MODULE}.plain.PlainLoginModule required user_me="{PASSWORD}";'
    extra = {
        "sasl.enabled.mechanisms": "PLAIN",
        JAAS.format(mechanism="plain"): jaas,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    broker = await asyncio.to_thread(lambda: home_broker(security="SASL_PLAINTEXT", extra=extra))
    await make_topics(f"127.0.0.1:{broker.internal}", {unique: 1})
    login = {"security": "SASL_PLAINTEXT", "username": "me", "password": PASSWORD}
    async with a_bus(broker.address, **login) as bus:
        with pytest.raises(BusForbidden, match="E7411"):
            await bus.publish(messages(unique, 1))
        with pytest.raises(BusForbidden, match="E7411"):
            async with bus.subscribe([unique], group="l07.g", start=Begin()) as sub:
                await gather_records(sub, 1)
