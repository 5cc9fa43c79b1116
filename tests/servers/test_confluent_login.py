"""The second Kafka client on a broker with TLS and SASL: the same settings as the first one's."""

import base64
import datetime
import ipaddress
import json
import time
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

PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_l07="right";'
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


def a_token() -> str:
    """Unsigned, as a broker without a key of the OAuth server takes it."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": "l07", "iat": int(now), "exp": int(now) + 600})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@pytest.mark.timeout(180)
async def test_each_login_over_tls_reads_and_writes(
    home_broker: Callable[..., HomeBroker], unique: str, tmp_path: Path
) -> None:
    certificate, key = a_certificate()
    ca_file, token_file = tmp_path / "ca.pem", tmp_path / "token"
    ca_file.write_text(certificate)
    token_file.write_text(a_token())
    broker = home_broker(
        security="SASL_SSL",
        extra={
            "auto.create.topics.enable": "true",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": certificate,
            "ssl.keystore.key": key,
            "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
            "listener.name.client.sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
            "listener.name.client.plain.sasl.jaas.config": PLAIN,
            "listener.name.client.oauthbearer.sasl.jaas.config": TOKEN,
        },
    )
    common = {"security": "SASL_SSL", "ca_file": str(ca_file)}
    logins = [
        {"sasl_mechanism": "PLAIN", "username": "l07", "password": "right"},
        {"sasl_mechanism": "OAUTHBEARER", "token_file": str(token_file)},
    ]
    for number, login in enumerate(logins):
        topic = f"login{number}.{unique}"
        async with a_bus(broker.address, **common, **login) as bus:
            await bus.publish([Message(topic, b"k", b"v")])
            async with bus.subscribe([topic], group=topic, start=from_the(0)) as sub:
                assert [record.value for record in records_of(await until(sub, reached(1)))] == [b"v"]
    with pytest.raises(BusLoginRefused):
        async with a_bus(broker.address, **common, **logins[0] | {"password": "wrong"}):
            pass
    with pytest.raises(BusLoginRefused):
        async with a_bus(broker.address, security="SASL_SSL", **logins[0]):  # the system does not know this certificate
            pass
