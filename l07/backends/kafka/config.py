"""From the settings to a client: addresses, groups, TLS, SASL. Nothing here speaks to a broker."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l07.errors import BadSetting
from l07.settings import Settings
from l07.settings.servers import Kafka

SCHEME = "kafka://"
CLIENT_ID = "l07"
PREFETCH_S = 0.5  # how long a broker may hold back the answer to a fetch while there is nothing new
OWN_GROUPS = "l07."  # what the callers' group names begin with; `bus.kafka.group` takes its place


@dataclass(frozen=True, slots=True)
class Brokers:
    """Where the brokers are, and how they are spoken to. Made by `brokers`, which has checked that it fits together."""

    addresses: tuple[str, ...]  # "host:port"
    kafka: Kafka

    @property
    def uses_tls(self) -> bool:
        return self.kafka.security.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        return self.kafka.security.startswith("SASL")

    def group(self, name: str) -> str:
        """The group's name on the brokers: `l07.ingest` of a caller becomes `<bus.kafka.group>.ingest`."""
        return f"{self.kafka.group}.{name.removeprefix(OWN_GROUPS)}"

    def instance(self, name: str) -> str | None:
        """`group.instance.id` of this process in that group; None: the member is a new one at each start."""
        return f"{self.kafka.instance_id}.{name.removeprefix(OWN_GROUPS)}" if self.kafka.instance_id else None

    def tls(self) -> ssl.SSLContext | None:
        """Raises BadSetting (E7501) for a file that cannot be read or is no certificate."""
        if not self.uses_tls:
            return None
        kafka = self.kafka
        try:
            context = ssl.create_default_context(cafile=kafka.ca_file or None)
        except OSError as err:  # ssl.SSLError too
            raise BadSetting(f"bus.kafka.ca_file = {kafka.ca_file!r}: {_why(err)}", name="bus.kafka.ca_file") from err
        if kafka.cert_file:
            password = kafka.key_password.get_secret_value()  # "" is no password; without one OpenSSL would ask
            try:
                context.load_cert_chain(kafka.cert_file, kafka.key_file or None, password)
            except OSError as err:
                text = f"bus.kafka.cert_file = {kafka.cert_file!r} with key_file = {kafka.key_file!r}: {_why(err)}"
                raise BadSetting(text, name="bus.kafka.cert_file") from err
        return context


def brokers(settings: Settings) -> Brokers:
    """Raises BadSetting (E7501) for a URL that is none, or for a login that lacks a part."""
    kafka = settings.bus.kafka
    found = Brokers(addresses(settings.bus.url), kafka)
    if found.uses_sasl and kafka.sasl_mechanism == "OAUTHBEARER":
        _check_token(kafka)
    elif found.uses_sasl and not (kafka.username and kafka.password.get_secret_value()):
        text = f"bus.kafka.security = {kafka.security}: {kafka.sasl_mechanism} needs bus.kafka.username and password"
        raise BadSetting(text, name="bus.kafka.username")
    return found


def addresses(url: str) -> tuple[str, ...]:
    """`kafka://HOST:PORT[,HOST:PORT]` as its addresses. Raises BadSetting (E7501)."""
    rest = url.removeprefix(SCHEME).rstrip("/")
    if "@" in rest:  # never repeated: what stands before it may be a password
        text = "bus.url: user and password are bus.kafka.username and bus.kafka.password, never part of the URL"
        raise BadSetting(text, name="bus.url")
    parts = tuple(part.strip() for part in rest.split(","))
    for part in parts:
        host, _, port = part.rpartition(":")
        if (
            not url.startswith(SCHEME)
            or not host
            or not port.isascii()
            or not port.isdigit()
            or not _is_port(int(port))
        ):
            raise BadSetting(f"bus.url = {url!r}: expected kafka://HOST:PORT[,HOST:PORT]", name="bus.url")
    return parts


def _is_port(number: int) -> bool:
    return 0 < number < 65536


def _check_token(kafka: Kafka) -> None:
    if bool(kafka.token_file) == bool(kafka.token_url):
        text = "bus.kafka.sasl_mechanism = OAUTHBEARER: set either bus.kafka.token_file or bus.kafka.token_url"
        raise BadSetting(text, name="bus.kafka.token_file")
    if kafka.token_url and not (kafka.token_client_id and kafka.token_client_secret.get_secret_value()):
        text = "bus.kafka.token_url: set bus.kafka.token_client_id and token_client_secret too"
        raise BadSetting(text, name="bus.kafka.token_client_id")
    if kafka.token_url and not kafka.token_url.startswith(("https://", "http://")):
        raise BadSetting(f"bus.kafka.token_url = {kafka.token_url!r}: no http(s) URL", name="bus.kafka.token_url")


def _why(err: OSError) -> str:
    """What OpenSSL or the system said, without a number."""
    return getattr(err, "reason", None) or err.strerror or str(err)


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def heartbeat_ms(session_ms: int) -> int:
    """A member hears of a rebalance at its next heartbeat: with a third of the session, as the clients have it, the others
    of one that died would stand still for a third longer than the session."""
    return min(3000, session_ms // 6)


def aiokafka_options(brokers: Brokers) -> Mapping[str, Any]:
    """What every client object of aiokafka takes: consumer, producer and admin."""
    from l07.backends.kafka.tokens import TokenProvider

    kafka = brokers.kafka
    options: dict[str, Any] = {
        "bootstrap_servers": list(brokers.addresses),
        "client_id": CLIENT_ID,
        "request_timeout_ms": milliseconds(kafka.request_timeout_s),
        "metadata_max_age_ms": milliseconds(kafka.metadata_age_s),
        "security_protocol": kafka.security,
        "ssl_context": brokers.tls(),
    }
    if brokers.uses_sasl:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        if kafka.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = TokenProvider(kafka)
        else:
            options["sasl_plain_username"] = kafka.username
            options["sasl_plain_password"] = kafka.password.get_secret_value()
    return options
