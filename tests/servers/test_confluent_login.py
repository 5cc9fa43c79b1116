"""The second Kafka client on a broker with TLS and SASL: the same settings as the first one's."""

import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from l07.errors import BusLoginRefused
from l07.events.record import Message
from tests.servers.confluent_kit import a_bus, from_the, reached, records_of, until
from tests.servers.kafka_server import HomeBroker
from tests.servers.login_kit import CLIENT, SECRET, an_oauth_server, token

PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_l07="right";'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
SCRAMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
TOKEN = (
    'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="b";'
)


def a_certificate() -> tuple[str, str]:
    """Self-signed for 127.0.0.1: (certificate, key) in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.decode(), private.decode()


@pytest.mark.timeout(180)
async def test_each_login_over_tls_reads_and_writes(
    home_broker: Callable[..., HomeBroker], unique: str, tmp_path: Path
) -> None:
    certificate, key = a_certificate()
    ca_file, token_file = tmp_path / "ca.pem", tmp_path / "token"
    ca_file.write_text(certificate)
    token_file.write_text(token())
    mechanisms = ",".join(("PLAIN", "OAUTHBEARER", *SCRAMS))
    broker = home_broker(
        security="SASL_SSL",
        extra={
            "auto.create.topics.enable": "true",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": certificate,
            "ssl.keystore.key": key,
            "sasl.enabled.mechanisms": mechanisms,
            "listener.name.client.sasl.enabled.mechanisms": mechanisms,
            "listener.name.client.plain.sasl.jaas.config": PLAIN,
            "listener.name.client.oauthbearer.sasl.jaas.config": TOKEN,
            **{f"listener.name.client.{name.lower()}.sasl.jaas.config": SCRAM for name in SCRAMS},
        },
    )
    for name in SCRAMS:
        broker.tool(
            "kafka.admin.ConfigCommand", "--bootstrap-server", f"127.0.0.1:{broker.internal}", "--alter",
            "--add-config", f"{name}=[password=right]", "--entity-type", "users", "--entity-name", "l07",
        )  # fmt: skip
    common = {"security": "SASL_SSL", "ca_file": str(ca_file)}
    person = {"username": "l07", "password": "right"}
    with an_oauth_server() as oauth:
        client = {"token_url": oauth.url, "token_client_id": CLIENT, "token_client_secret": SECRET}
        logins = [
            *({"sasl_mechanism": name} | person for name in ("PLAIN", *SCRAMS)),
            {"sasl_mechanism": "OAUTHBEARER", "token_file": str(token_file)},
            {"sasl_mechanism": "OAUTHBEARER"} | client,
        ]
        for number, login in enumerate(logins):
            await read_and_write(broker, f"login{number}.{unique}", **common, **login)
        assert oauth.asked
        for wrong in (
            *({**login, "password": "wrong"} for login in logins[:3]),
            logins[4] | {"token_client_secret": "x"},
        ):
            with pytest.raises(BusLoginRefused):
                async with a_bus(broker.address, **common, **wrong):
                    pass
    with pytest.raises(BusLoginRefused):
        async with a_bus(broker.address, security="SASL_SSL", **logins[0]):  # the system does not know this certificate
            pass


async def read_and_write(broker: HomeBroker, topic: str, **login: str) -> None:
    async with a_bus(broker.address, **login) as bus:
        await bus.publish([Message(topic, b"k", b"v")])
        async with bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
            assert [record.value for record in records_of(await until(sub, reached(1)))] == [b"v"]
