"""What the generated world is made of: service desks with tools, records with a state, and a policy that names the states in which a tool may be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ANIMALS = words(
    "otter falcon tiger lynx heron badger bison cobra crane eagle ferret gecko hippo ibis jackal "
    "koala lemur moose newt panda quail raven seal toad viper walrus yak zebra wolf swan"
)
FIRST = words("mia liam sofia noah emma raj yuki omar lucia ivan aarav chen ana leo nora sam")
LAST = words("li kim khan lopez ito ross silva patel brown garcia smith moore rossi davis")

VALUES: Mapping[str, tuple[str, ...]] = {
    "city": words("Berlin Paris Oslo Lima Tokyo Cairo Delhi Rome Quito Dallas Boston Seoul Miami Denver Austin Madrid"),
    "item": words("jacket kettle phone lamp sofa watch tent guitar mixer drone"),
    "car": words("van coupe pickup wagon hatchback roadster limousine minibus"),
    "part": words("bumper mirror door tyre window bonnet headlight seat"),
    "doctor": words("weber okafor novak jensen moreau tanaka alvarez duarte"),
    "day": words("monday tuesday wednesday thursday friday saturday"),
    "days": words("2 3 4 5 6 7 8 9 10 12 14 21"),
}


@dataclass(frozen=True, slots=True)
class Intent:
    """What a customer wants. `tool` is None where the record only has to be read out; `allowed` are the states in which the policy lets the tool be used."""

    name: str
    phrases: tuple[str, ...]
    tool: str | None = None
    allowed: frozenset[str] = frozenset()
    needs: str | None = None  # a second argument of the tool, drawn from VALUES


@dataclass(frozen=True, slots=True)
class Desk:
    """One domain: an agent looks a record up, then acts if the policy allows it, else hands over."""

    name: str
    thing: str  # what an id stands for
    key: str  # the argument that carries the id
    lookup: str
    handover: str
    detail: str  # a field of the record beside its state, drawn from VALUES
    states: tuple[str, ...]
    intents: tuple[Intent, ...]
    openings: tuple[str, ...] = field(
        default=(
            "",
            "hello, ",
            "hi, ",
            "good morning, ",
            "this is {first} {last}, ",
            "{first} {last} here, ",
            "my name is {first} {last}. ",
        )
    )


def _intent(name: str, tool: str | None, allowed: str, *phrases: str, needs: str | None = None) -> Intent:
    return Intent(name, phrases, tool, frozenset(allowed.split()), needs)


RETAIL = Desk(
    name="retail",
    thing="order",
    key="order_id",
    lookup="get_order",
    handover="hand_over",
    detail="item",
    states=("pending", "shipped", "delivered"),
    intents=(
        _intent(
            "refund",
            "refund_order",
            "delivered",
            "i want my money back for order {id}, the {item} is broken",
            "refund order {id} please, i do not like the {item}",
            "can i get a refund on {id}? the {item} does not work",
            "the {item} in {id} is damaged, refund it",
        ),
        _intent(
            "cancel",
            "cancel_order",
            "pending",
            "cancel order {id}, i found a cheaper {item}",
            "please cancel {id}, i do not need the {item} any more",
            "stop order {id} now, the {item} is the wrong one",
            "i changed my mind about the {item}, cancel {id}",
        ),
        _intent(
            "redirect",
            "change_address",
            "pending",
            "ship order {id} with the {item} to {city} instead",
            "i moved to {city}, update order {id} for the {item}",
            "send the {item} of {id} to {city} please",
            "change the address of {id} to {city}, the {item} is for a friend",
            needs="city",
        ),
        _intent(
            "exchange",
            "exchange_item",
            "delivered shipped",
            "exchange the {item} of order {id} for another",
            "i want a different {item}, order {id}",
            "swap the {item} in {id} please",
            "order {id} has the wrong {item}, exchange it",
        ),
        _intent(
            "track",
            None,
            "",
            "where is order {id} with my {item}?",
            "has the {item} of {id} shipped yet?",
            "when will my {item} arrive, order {id}?",
            "track {id}, i wait for a {item}",
        ),
    ),
)

CLINIC = Desk(
    name="clinic",
    thing="visit",
    key="visit_id",
    lookup="find_visit",
    handover="ask_nurse",
    detail="doctor",
    states=("booked", "confirmed", "past"),
    intents=(
        _intent(
            "move",
            "move_visit",
            "booked",
            "move visit {id} with doctor {doctor} to {day}",
            "can we do {id} at doctor {doctor} on {day}?",
            "{day} suits me better for {id}, doctor {doctor}",
            "please put my visit {id} to doctor {doctor} on {day}",
            needs="day",
        ),
        _intent(
            "drop",
            "drop_visit",
            "booked confirmed",
            "i can not come to {id} at doctor {doctor}",
            "drop visit {id}, doctor {doctor} knows",
            "i feel well again, drop {id} with doctor {doctor}",
            "take {id} off the list of doctor {doctor}",
        ),
        _intent(
            "results",
            "send_results",
            "past",
            "send me the results of {id} from doctor {doctor}",
            "doctor {doctor} did a test at {id}, send the results",
            "i wait for the results of visit {id}, doctor {doctor}",
            "results of doctor {doctor} for {id} please",
        ),
        _intent(
            "renew",
            "renew_recipe",
            "past confirmed",
            "renew the recipe of visit {id} by doctor {doctor}",
            "my pills of {id} are empty, doctor {doctor} must renew",
            "doctor {doctor} gave me a recipe at {id}, renew it",
            "recipe of {id} again please, doctor {doctor}",
        ),
        _intent(
            "ask",
            None,
            "",
            "is my visit {id} at doctor {doctor} fixed?",
            "tell me about visit {id}, doctor {doctor}",
            "what is the state of {id} with doctor {doctor}?",
            "did doctor {doctor} accept {id}?",
        ),
    ),
)

RENTAL = Desk(
    name="rental",
    thing="booking",
    key="booking_id",
    lookup="read_booking",
    handover="call_agent",
    detail="car",
    states=("reserved", "active", "returned"),
    intents=(
        _intent(
            "extend",
            "extend_booking",
            "active",
            "i keep the {car} of {id} {days} days longer",
            "extend booking {id} by {days} days, the {car} is great",
            "{days} more days with the {car} please, booking {id}",
            "make {id} {days} days longer, i love the {car}",
            needs="days",
        ),
        _intent(
            "release",
            "release_car",
            "reserved",
            "i do not need the {car}, release booking {id}",
            "give the {car} of {id} to somebody else",
            "release {id}, my trip with the {car} is off",
            "booking {id} of the {car} can go",
        ),
        _intent(
            "invoice",
            "send_invoice",
            "returned",
            "i need the invoice of {id} for the {car}",
            "invoice for booking {id} please, it was a {car}",
            "my boss pays the {car}, send the invoice of {id}",
            "where is the bill of the {car}, booking {id}?",
        ),
        _intent(
            "damage",
            "report_damage",
            "active returned",
            "the {part} of the {car} is broken, booking {id}",
            "i hit the {part} of the {car}, report it on {id}",
            "report a scratch at the {part}, booking {id}, a {car}",
            "someone broke the {part} of my {car}, {id}",
            needs="part",
        ),
        _intent(
            "check",
            None,
            "",
            "is the {car} of booking {id} ready?",
            "tell me the state of {id}, a {car}",
            "check booking {id} with the {car} please",
            "what about my {car}, booking {id}?",
        ),
    ),
)

DESKS: Mapping[str, Desk] = {desk.name: desk for desk in (RETAIL, CLINIC, RENTAL)}
