"""From settings to a client, without a broker: addresses, groups, secrets, fates, and what we use of aiokafka's inside."""

import inspect
import ssl
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as lib
from aiokafka.consumer import fetcher, group_coordinator, subscription_state
from aiokafka.consumer.group_coordinator import GroupCoordinator

from l07 import errors
from l07.backends.kafka import fates
from l07.backends.kafka.config import addresses, aiokafka_options, brokers
from l07.backends.kafka.consumer import reading_options
from l07.backends.kafka.tokens import TokenUnreadable
from l07.backends.kafka.topics import needs
from l07.errors import BadSetting, BusLoginRefused, BusUnavailable
from l07.settings import Settings, load_settings


def settings(url: str = "kafka://h:1", **kafka: Any) -> Settings:
    return Settings.model_validate({"bus": {"url": url, "kafka": kafka}})


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("kafka://h:1", ("h:1",)),
        ("kafka://h:1,i:65535/", ("h:1", "i:65535")),
        ("kafka://[::1]:9092", ("[::1]:9092",)),
    ],
)
def test_an_address_is_host_and_port(url: str, found: tuple[str, ...]) -> None:
    assert addresses(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://h",
        "kafka://h:",
        "kafka://:1",
        "kafka://h:0",
        "kafka://h:65536",
        "kafka://h:1,",
        "kafka://h:²",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match=r"E7501.*bus\.url"):
        addresses(url)


def test_a_password_in_the_url_is_refused_and_never_repeated() -> None:
    with pytest.raises(BadSetting, match=r"bus\.kafka\.username") as said:
        addresses("kafka://me:hunter2@h:1")
    assert "hunter2" not in str(said.value)


def test_groups_and_instances_are_prefixed_in_one_place() -> None:
    ours = brokers(settings(group="acme", instance_id="pod-0"))
    assert (ours.group("l07.ingest"), ours.instance("l07.ingest")) == ("acme.ingest", "pod-0.ingest")
    assert brokers(settings()).group("l07.ingest") == "l07.ingest"
    assert brokers(settings()).instance("l07.ingest") is None


@pytest.mark.parametrize(
    ("kafka", "name"),
    [
        ({"security": "SASL_SSL", "username": "u"}, "username"),
        ({"security": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}, "token_file"),
        ({"security": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_file": "a", "token_url": "b"}, "token_file"),
        ({"security": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_url": "https://x"}, "token_client_id"),
        (
            {"security": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_url": "file:///x", "token_client_id": "i",
             "token_client_secret": "s"},
            "token_url",
        ),
    ],
)  # fmt: skip
def test_a_login_that_lacks_a_part_is_refused(kafka: dict[str, str], name: str) -> None:
    with pytest.raises(BadSetting, match=rf"bus\.kafka\.{name}"):
        brokers(settings(**kafka))


def test_a_certificate_that_cannot_be_read_is_refused(tmp_path: Any) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for kafka in ({"ca_file": str(tmp_path / "ca.pem")}, {"ca_file": "/nowhere"}, {"cert_file": "/nowhere"}):
        with pytest.raises(BadSetting, match="_file"):
            brokers(settings(security="SSL", **kafka)).tls()


def test_tls_checks_the_brokers_name() -> None:
    context = brokers(settings(security="SSL")).tls()
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_secrets_are_in_the_clients_options_and_in_no_text() -> None:
    ours = brokers(settings(security="SASL_PLAINTEXT", username="u", password="hunter2"))
    assert aiokafka_options(ours)["sasl_plain_password"] == "hunter2"
    assert "hunter2" not in repr(ours)


@pytest.mark.parametrize("name", ["PASSWORD", "KEY_PASSWORD", "TOKEN_CLIENT_SECRET"])
def test_a_secret_that_does_not_fit_is_not_shown(name: str) -> None:
    with pytest.raises(BadSetting, match=r"= \*\*\* ") as said:
        load_settings({f"L07_BUS__KAFKA__{name}": '["hunter2"]'})
    assert "hunter2" not in str(said.value)


def test_the_clients_unsafe_defaults_are_turned_round() -> None:
    options = reading_options(brokers(settings()))
    assert options["enable_auto_commit"] is False
    assert options["auto_offset_reset"] == "none"
    assert options["isolation_level"] == "read_committed"
    assert options["check_crcs"] is True


def test_a_topic_that_two_settings_name_is_checked_for_the_larger_need() -> None:
    found = needs(Settings.model_validate({"topics": {"dlq": "x", "events": "x"}}))
    assert len(found) == 5
    assert max(need.max_bytes for need in found) == next(need.max_bytes for need in found if need.topic == "x") > 0


def test_a_topic_without_a_name_is_not_needed() -> None:
    assert len(needs(Settings())) == 6
    assert all(need.topic for need in needs(Settings()))
    assert "inference.logs" in {
        need.topic for need in needs(Settings.model_validate({"topics": {"payloads": "inference.logs"}}))
    }


# ------------------------------------------------------------------ fates


def test_every_exception_class_of_the_library_has_a_fate() -> None:
    classes = {kind for kind in vars(lib).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {kind.__name__ for kind in classes} - set(fates.BY_NAME) == set()


def test_every_number_of_the_brokers_has_the_fate_of_its_class() -> None:
    for number, kind in lib.kafka_errors.items():
        assert fates.BY_NUMBER[number] is fates.BY_NAME[kind.__name__], kind


@pytest.mark.parametrize("name", fates.BY_NAME)
def test_each_class_of_the_library_comes_out_as_its_fate(name: str) -> None:
    kind = getattr(lib, name)
    err = fates.fate_of(kind(), doing="this")
    assert type(err) is fates.BY_NAME[name]
    assert "this" in err.message


def test_a_certificate_that_is_not_trusted_is_no_outage() -> None:
    assert isinstance(fates.fate_of(ssl.SSLCertVerificationError("self-signed")), BusLoginRefused)
    assert isinstance(fates.fate_of(ConnectionResetError("reset")), BusUnavailable)
    assert isinstance(fates.fate_of(TokenUnreadable("no file", refused=True)), BusLoginRefused)
    assert isinstance(fates.fate_of(TokenUnreadable("timeout", refused=False)), BusUnavailable)


def test_each_fate_says_what_to_look_at() -> None:
    assert set(fates.BY_NAME.values()) | set(fates.BY_NUMBER.values()) <= set(fates.SAID)
    assert all(issubclass(fate, errors.L07Error) for fate in fates.SAID)


# ------------------------------------------------------------------ the inside of aiokafka 0.14

USED = {
    fetcher.Fetcher: "_proc_fetch_request _in_flight _pending_tasks _records _client _retry_backoff _notify _wait_consume_future"
    " _create_fetch_waiter error_future",
    subscription_state.SubscriptionState: "subscription reassignment_in_progress",
    subscription_state.Assignment: "active state_value",
    subscription_state.TopicPartitionState: "position has_valid_position paused pause resume seek consumed_to",
    GroupCoordinator: "check_errors member_id _coordination_task _heartbeat_task _commit_refresh_task",
    AIOKafkaConsumer: "_fetcher _coordinator _subscription _client",
    AIOKafkaProducer: "_sender _closed client",
}


@pytest.mark.parametrize("kind", USED, ids=lambda kind: kind.__name__)
def test_what_we_use_of_the_librarys_inside_is_there(kind: type) -> None:
    source = inspect.getsource(kind)
    missing = [name for name in USED[kind].split() if f"self.{name} =" not in source and not hasattr(kind, name)]
    assert missing == []


def test_the_fetch_that_we_replace_is_the_one_that_we_know() -> None:
    replaced = inspect.signature(fetcher.Fetcher._proc_fetch_request)
    assert list(replaced.parameters) == ["self", "assignment", "node_id", "request"]
    routine = inspect.getsource(fetcher.Fetcher._fetch_requests_routine)
    assert "self._proc_fetch_request(assignment, node_id, request)" in routine
    actions = inspect.getsource(fetcher.Fetcher._get_actions_per_node)
    assert "record.calculate_backoff()" in actions
    assert actions.index("not tp_state.has_valid_position") < actions.index("tp_state.paused")


def test_an_assignor_hears_of_an_assignment_before_anything_can_be_fetched() -> None:
    complete = inspect.getsource(group_coordinator.GroupCoordinator._on_join_complete)
    between = complete.split("assign_from_subscribed(")[1].split("assignor.on_assignment(")[0]
    assert "await" not in between.replace("The await bellow", "")
