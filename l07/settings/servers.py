"""Settings of the servers: the bus and the buffer."""

from typing import Literal

from pydantic import Field, SecretStr

from l07.settings.base import Group


class Kafka(Group):
    client: Literal["aiokafka", "confluent"] = Field("aiokafka", description="which client library speaks to Kafka")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how the brokers are spoken to"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="with a SASL security"
    )
    username: str = Field("", description="of PLAIN and SCRAM")
    password: SecretStr = Field(SecretStr(""), description="of PLAIN and SCRAM")
    token_file: str = Field("", description="of OAUTHBEARER: a file with the token, read again at each connection")
    token_url: str = Field("", description="of OAUTHBEARER: where a token is fetched for client id and secret")
    token_client_id: str = Field("", description="with token_url")
    token_client_secret: SecretStr = Field(SecretStr(""), description="with token_url")
    token_scope: str = Field("", description="with token_url; empty: none is asked for")
    ca_file: str = Field("", description="certificates that the brokers' are checked against; empty: the system's")
    cert_file: str = Field("", description="our own certificate")
    key_file: str = Field("", description="its key")
    key_password: SecretStr = Field(SecretStr(""), description="of an encrypted key")
    group: str = Field(
        "l07",
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="prefix of the consumer groups: <prefix>.ingest, <prefix>.curate, ...",
    )
    instance_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,128}$",
        description="static membership: a name of this member that survives its restart",
    )
    protocol: Literal["classic", "consumer"] = Field(
        "classic",
        description="how the group shares its partitions, with client = confluent: classic (cooperative-sticky), or consumer "
        "(KIP-848, brokers from 4.0; the session timeout is the brokers')",
    )
    session_timeout_s: float = Field(45.0, ge=1, description="a member that is silent for this long has left")
    request_timeout_s: float = Field(30.0, ge=1, description="a broker that does not answer for this long is away")
    metadata_age_s: float = Field(60.0, ge=1, description="new partitions and brokers are seen after this long at most")
    fetch_bytes: int = Field(16_777_216, ge=1024, description="of one answer of a broker to a fetch, at most")
    partition_fetch_bytes: int = Field(1_048_576, ge=1024, description="of one partition in such an answer, at most")
    unpacked_bytes: int = Field(
        67_108_864, ge=1_048_576, description="a compressed batch that unpacks to more is a dead letter"
    )
    create_topics: bool = Field(False, description="make topics that are missing; else their absence stops the start")
    replication: int = Field(1, ge=1, description="copies of a topic that is made")
    min_insync_replicas: int = Field(1, ge=1, description="of a topic that is made: copies that a write must reach")
    retention_s: int = Field(
        30 * 86400, ge=-1, description="of a topic that is made: how long records stay; -1: for ever"
    )


class Bus(Group):
    url: str = Field(
        "", description="empty: SQLite in the data folder; else sqlite:///PATH or kafka://HOST:PORT[,HOST:PORT]"
    )
    partitions: int = Field(3, ge=1, le=1024, description="partitions of a topic that is made")
    kafka: Kafka = Field(default_factory=Kafka)


class Buffer(Group):
    url: str = Field(
        "",
        description="empty: an embedded Valkey in the data folder; else redis://HOST:PORT/DB, unix:///PATH or"
        " redis+cluster://HOST:PORT,HOST:PORT; rediss for TLS",
    )
    username: str = Field("", description="of the server's ACL; before one in the URL")
    password: SecretStr = Field(SecretStr(""), description="of the server; before one in the URL")
    ca_file: str = Field("", description="certificates that the server's is checked against; empty: the system's")
    cert_file: str = Field("", description="our own certificate")
    key_file: str = Field("", description="its key")
    name: str = Field(
        "default", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="part of every key: {l07:<name>:<shard>}"
    )
    shards: int = Field(
        1, ge=1, le=64, description="shards of the buffer, each on one core of a server; fixed when it is made"
    )
    remember_s: int = Field(7 * 86400, ge=60, description="a producer's repeat is recognised for this long")
