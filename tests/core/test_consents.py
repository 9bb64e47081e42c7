"""What a client agreed to, by channel and purpose: the latest word counts, in whatever order records come."""

import json
import random

import pytest

from engine.core.client import consents
from engine.core.client.consents import CHANNELS, GRANTED, PURPOSES, UNKNOWN, WITHDRAWN, Consent, consent
from engine.core.client.sections import pack, unpack
from engine.core.contract.corrections import Correction
from engine.core.reading.decode import Taken, decode
from tests.core.making import Desk, at, login, plan_of, rule
from tests.core.test_answers import came, opt_out

FIELDS = {"all": "consents", **{purpose: f"{purpose}_consents" for purpose in PURPOSES}}


def desk_of(*rules):
    return Desk(plan_of(*(rules or (rule("letter", audience="client", channels="[sms, email]"),))))


def agreed(time_ms, purpose="all", channels=(), source=None):
    return came("profiles", time_ms, **{FIELDS[purpose]: dict.fromkeys(channels, True)}, consent_source=source)


def opted_out(time_ms, channel, purpose=None):
    return came("receipts", time_ms, channel=channel, status="opted_out", purpose=purpose)


def every(client):
    return {(channel, purpose): consent(client, channel, purpose) for channel in CHANNELS for purpose in PURPOSES}


def latest_word(told):
    """By the manual: of what was said of a channel and purpose the latest, of one moment the most special."""
    found = {}
    for channel in CHANNELS:
        for purpose in PURPOSES:
            about = []
            for time_ms, of, channels, source in told:
                if of not in ("all", purpose):
                    continue
                if source != "receipt":
                    about.append((time_ms, int(of != "all"), channel in channels, source))
                elif channel in channels:
                    about.append((time_ms, 2, False, source))
            word = max(about, key=lambda one: one[:2], default=None)
            said = Consent(UNKNOWN) if word is None else Consent(GRANTED if word[2] else WITHDRAWN, word[0], word[3])
            found[channel, purpose] = said
    return found


def test_the_latest_word_counts_whatever_the_order_of_records():
    rng = random.Random(11)
    for _ in range(150):
        told, records, taken = [], [login(at(0))], set()
        for _ in range(rng.randrange(1, 8)):
            time_ms, of = at(rng.randrange(1, 6)), rng.choice(("all", *PURPOSES))
            receipt = rng.random() < 0.4
            if (time_ms, of, receipt) in taken:
                continue  # which of two words of one moment and kind is the later one, nobody can tell
            taken.add((time_ms, of, receipt))
            if receipt:
                channel = rng.choice(CHANNELS[:2])
                told.append((time_ms, of, (channel,), "receipt"))
                records.append(opted_out(time_ms, channel, None if of == "all" else of))
            else:
                channels, source = rng.sample(CHANNELS[:3], rng.randrange(3)), rng.choice(("app", "branch", None))
                told.append((time_ms, of, channels, source))
                records.append(agreed(time_ms, of, channels, source))
        wanted = latest_word(told)
        for _ in range(3):
            rng.shuffle(records)
            desk = desk_of()
            desk.take(*records)
            assert every(desk.client) == wanted, told
            again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
            assert every(again) == wanted
            assert pack(desk.plan.layout, again) == pack(desk.plan.layout, desk.client)


def test_one_profile_says_both_and_the_purpose_goes_first():
    desk = desk_of()
    said = {"consents": {"sms": True, "email": True}, "marketing_consents": {"email": True}, "consent_source": "app"}
    desk.take(came("profiles", at(1), **said))
    assert consent(desk.client, "sms", "marketing") == Consent(WITHDRAWN, at(1), "app")
    assert consent(desk.client, "sms", "risk") == Consent(GRANTED, at(1), "app")
    assert consent(desk.client, "email", "marketing") == Consent(GRANTED, at(1), "app")


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ([agreed(at(1), "all", ["sms"])], "sent"),
        ([agreed(at(1), "marketing", ["sms"])], "no_consent"),
        ([agreed(at(1), "service", ["sms"])], "sent"),
        ([agreed(at(1), "all", ["sms"]), agreed(at(2), "service")], "no_consent"),
        ([agreed(at(1), "all", ["sms"]), agreed(at(2), "marketing")], "sent"),
        ([agreed(at(1), "all", ["sms"]), opted_out(at(2), "sms", "marketing")], "sent"),
        ([agreed(at(1), "all", ["sms"]), opted_out(at(2), "sms", "service")], "no_consent"),
        ([agreed(at(1), "all", ["sms"]), opt_out(at(2)), agreed(at(3), "service", ["sms"])], "sent"),
        ([agreed(at(1), "all", ["sms"]), came("profiles", at(2), service_consents=None)], "no_consent"),
        ([agreed(at(1), "all", ["sms"]), came("profiles", at(2), region="east")], "sent"),
    ],
)
def test_a_contact_asks_for_consent_to_service(records, outcome):
    desk = desk_of()
    desk.take(*records, login(at(4)))
    assert desk.outcomes[-1] == ("letter", outcome)


def test_the_next_channel_is_taken_when_consent_to_the_first_is_withdrawn():
    desk = desk_of()
    desk.take(agreed(at(1), "all", ["sms", "email"]), opted_out(at(2), "sms", "service"))
    assert [message["channel"] for message in desk.take(login(at(3)))] == ["email"]


@pytest.mark.parametrize("first", [True, False])
def test_a_correction_of_an_opt_out_gives_no_consent_whichever_comes_first(first):
    desk = desk_of()
    out = opted_out(at(2), "sms")
    fields = {"event_id": "k1", "client_id": "c1", "time": at(3), "kind": "cancel", "topic": "receipts"}
    cancelled = "corrections", Correction.model_construct(**fields, corrects=out[1].event_id, original=out[1])
    desk.take(agreed(at(1), "all", ["sms"]), *((cancelled, out) if first else (out, cancelled)), login(at(4)))
    assert desk.outcomes[-1] == ("letter", "no_consent")
    desk.take(agreed(at(5), "all", ["sms"]), login(at(5)))
    assert desk.outcomes[-1] == ("letter", "sent")


def test_conditions_read_it():
    asked = 'not has_code(client.marketing_channels, "sms")'
    desk = desk_of(rule("call", audience="team", when=f"known(client.marketing_channels) and {asked}"))
    desk.take(login(at(1)))
    assert desk.outcomes == []
    desk.take(agreed(at(2), "all", ["sms"]), login(at(2)))
    assert desk.outcomes == []
    desk.take(opted_out(at(3), "sms", "marketing"), login(at(3)))
    assert desk.outcomes == [("call", "sent")]
    assert consents.channels(desk.client, "marketing") == ""
    assert consents.channels(desk.client, "risk") == "sms"


def test_a_channel_that_cannot_be_read_is_not_agreed_to():
    desk = desk_of()
    desk.take(agreed(at(1), "all", CHANNELS), agreed(at(1), "risk", CHANNELS))
    topic, event = came_in_part(at(2), {"sms": "yes", "email": True})
    desk.take((topic, event))
    assert consents.channels(desk.client, "risk") == "email"


def came_in_part(time_ms, said):
    value = {"event_id": "odd", "client_id": "c1", "time": time_ms, "risk_consents": said}
    taken = decode("profiles", b"c1", json.dumps(value).encode(), -1)
    assert isinstance(taken, Taken)
    assert taken.unread == ("risk_consents.sms",)
    return "profiles", taken.event


def test_who_says_nothing_of_purposes_has_not_a_byte_more_and_0_1_0_kept_no_time():
    desk = desk_of()
    desk.take(agreed(at(1), "all", ["sms"]))
    packed = pack(desk.plan.layout, desk.client)
    assert not any(name in packed for name in (b"\xa1M", b"\xa1S", b"\xa1R", b"from"))
    desk.client.said_ms = {}
    assert consent(desk.client, "sms", "risk") == Consent(GRANTED, None, None)
    assert consent(desk.client, "email", "risk") == Consent(WITHDRAWN, None, None)
    desk.client.consents = ()
    assert consent(desk.client, "sms", "risk") == Consent(UNKNOWN)
