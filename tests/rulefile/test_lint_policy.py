"""Lint knows the contact policy."""

from __future__ import annotations

from typing import Any

import pytest

from engine.rulefile.lint import policy as lint_policy
from engine.rulefile.lint.findings import Finding
from engine.rulefile.lint.lint import lint
from tests.core.making import TIERS, rule
from tests.rulefile.sample import good
from tests.rulefile.test_lint import FEATURES, ORDER

CLASSES = """\
classes:
  regulatory: {exempt: [consent, caps, quiet_hours], counts: false, channels: [email, phone]}
  risk: {exempt: [caps, quiet_hours]}
  service: {when_quiet: hold}
  offers: {when_quiet: other_channel, collect: 2h}
  news: {}
"""
CALENDAR = """\
calendar:
  title: An exchange
  first_day: 2026-01-01
  last_day: 2026-12-31
  holidays: [2026-10-01]
  business_hours: ["09:00-17:00"]
"""
ASKED = ("L205", "L501", "L502", "L503", "L504", "L505", "L506", "L507", "L508", "L509", "L510")
RULES = ("regulatory", "risk", "service", "offers", "news")


def files(*rules: str, policy: str) -> dict[str, str]:
    whole = policy if "contact:" in policy or "caps:" in policy else f"contact: {{daily_cap: 9}}\n{policy}"
    named = {"features.yaml": FEATURES, "tiers.yaml": TIERS, "policy.yaml": whole, "rules.yaml": "rules:\n"}
    named["rules.yaml"] += "".join(rules)
    return named | ({"calendar.yaml": CALENDAR} if "holidays" in policy else {})


def found(*rules: str, policy: str) -> list[Finding]:
    return [one for one in lint(good(files(*rules, policy=policy))) if one.code in ASKED and one.code not in ORDER]


def of_class(name: str, id_: str = "x", **fields: Any) -> str:
    return rule(id_, **{"class": name, "cooldown": "1d", **fields})


def others(*left_out: str) -> list[str]:
    """A rule of each class but these, so that all are used."""
    channels = {"regulatory": "[email]", "offers": "[sms]"}
    return [
        of_class(name, f"of-{name}", channels=channels.get(name, "[sms]"), expires="3d")
        for name in RULES
        if name not in left_out
    ]


@pytest.mark.parametrize(
    ("policy", "fields", "code", "said"),
    [
        ("caps: {none: {at_most: 0, per: day}}", {}, "L205", "is never sent: the cap none of policy.yaml is 0"),
        (
            "caps: {day: {at_most: 2, per: day, reserve: {slots: 2, for: risk}}}",
            {},
            "L205",
            "the cap day of policy.yaml keeps all its slots for risk and above",
        ),
        (
            "caps: {a: {at_most: 0, per: day, of: {channel: sms}}, b: {at_most: 0, per: day, of: {channel: app_push}}}",
            {},
            "L205",
            "the cap b of policy.yaml is 0 and the cap a of policy.yaml is 0",
        ),
        (
            "caps: {a: {at_most: 0, per: day, of: {channel: sms}}}\n"
            'quiet_hours: {b: {hours: "00:00-24:00", of: {channel: app_push}}}',
            {},
            "L501",
            "on any of its channels: quiet hours at every hour (b); cap a",
        ),
        (
            'quiet_hours: {day: {hours: "07:00-21:00"}, night: {hours: "21:00-07:00"}}',
            {},
            "L501",
            "quiet hours at every hour (day, night)",
        ),
        (
            "quiet_hours:\n"
            '  work: {hours: "00:00-24:00", days: [mon, tue, wed, thu, fri]}\n'
            '  sat: {hours: "00:00-24:00", days: [sat]}\n'
            '  late: {hours: "12:00-00:00", days: [sun]}\n  early: {hours: "23:00-12:00", days: [sat]}\n',
            {},
            "L501",
            "is never sent on any of its channels",
        ),
        ("", {"holdout": "{share: 1, salt: s}"}, "L508", "its holdout is of all clients: it is never sent"),
        (
            "breaker: {all: {per_minute: 50}}",
            {"breaker": "{per_minute: 60}"},
            "L509",
            "per_minute: 60 is never reached: all rules together may have 50",
        ),
        ("", {"class": "offers", "expires": "2h"}, "L505", "expires after 2h, and class offers collects for 2h"),
        ("", {"class": "regulatory", "channels": "[sms]"}, "L503", "without consent by email, phone only"),
        (
            'quiet_hours: {night: {hours: "21:30-08:00"}}',
            {"expires": "4h"},
            "L506",
            "expires after 4h: what matches from 21:30 to 04:00 by the client's clock is dropped, not held",
        ),
        (
            'quiet_hours: {night: {hours: "21:30-08:00", zone: firm}}',
            {"expires": "150m", "class": "offers"},
            "L506",
            "what matches from 21:30 to 05:30 by the firm's clock is dropped",
        ),
        (
            "quiet_hours: {free: {days: holidays}}",
            {"expires": "6h"},
            "L506",
            "what matches from 00:00 to 18:00 of a day that is no working day is dropped",
        ),
        (
            'quiet_hours: {night: {hours: "21:30-08:00"}}',
            {"expires": "4h", "on": None, "at": "{every: day, time: '02:00'}"},
            "L506",
            "it matches at 02:00, and from 21:30 to 04:00 in the firm's zone it is dropped",
        ),
    ],
)
def test_rules_that_do_not_pass(policy: str, fields: dict[str, str], code: str, said: str) -> None:
    named = fields.get("class", "service")
    rules = [of_class(**{"name": named, "expires": "3d", "channels": "[app_push, sms]", **fields})]
    (finding,) = [one for one in found(*rules, policy=CLASSES + policy) if one.subject == 'rule "x"']
    assert finding.code == code
    assert said in finding.message
    assert finding.remedy


@pytest.mark.parametrize(
    ("policy", "fields"),
    [
        ("caps: {none: {at_most: 0, per: day}}", {"class": "risk"}),  # exempt
        ("caps: {none: {at_most: 0, per: day, spare_from: 48}}", {"priority": 50}),
        ("caps: {sms: {at_most: 0, per: day, of: {channel: sms}}}", {}),  # app_push is left
        ("caps: {day: {at_most: 2, per: day, reserve: {slots: 2, for: service}}}", {}),
        ("caps: {day: {at_most: 3, per: day, reserve: {slots: 2, for: risk}}}", {}),
        ('quiet_hours: {day: {hours: "07:00-21:00"}, night: {hours: "21:00-06:59"}}', {}),  # a minute
        ('quiet_hours: {day: {hours: "07:00-21:00"}, night: {hours: "21:00-07:00", zone: firm}}', {}),  # two clocks
        ('quiet_hours: {all: {hours: "00:00-24:00", of: {channel: sms}}}', {}),
        ("", {"holdout": "{share: 0.99, salt: s}"}),
        ("", {"class": "offers", "expires": "121m"}),
        ("", {"class": "regulatory", "channels": "[sms, email]"}),
        ('quiet_hours: {night: {hours: "21:30-08:00"}}', {"expires": "630m"}),  # as long
        ('quiet_hours: {night: {hours: "21:30-08:00"}}', {"expires": "1h", "class": "news"}),  # dropped on purpose
        ('quiet_hours: {night: {hours: "21:30-08:00"}}', {"expires": "1h", "class": "risk"}),
        ('quiet_hours: {night: {hours: "21:30-08:00", of: {channel: sms}}}', {"expires": "1h"}),
        (
            'quiet_hours: {night: {hours: "21:30-08:00"}}',
            {"expires": "4h", "on": None, "at": "{every: day, time: '05:00'}"},
        ),
        ("caps: {none: {at_most: 0, per: day}}", {"audience": "team", "kind": "task"}),
    ],
)
def test_silent_on_what_passes(policy: str, fields: dict[str, Any]) -> None:
    named = fields.get("class", "service")
    of_it = of_class(**{"name": named, "expires": "3d", "channels": "[app_push, sms]", **fields})
    if fields.get("audience") == "team":
        of_it = rule("x", audience="team", kind="task")
    assert [one for one in found(of_it, policy=CLASSES + policy) if one.subject == 'rule "x"'] == []


@pytest.mark.parametrize(
    ("policy", "code", "subject", "said"),
    [
        (
            "caps: {day: {at_most: 2, per: day, reserve: {slots: 2, for: service}, spare_from: 90}}",
            "L504",
            "cap day",
            "nothing of class offers, news is sent below priority 90",
        ),
        (
            "caps: {day: {at_most: 1, per: day, of: {class: [service, news]}, reserve: {slots: 1, for: service}}}",
            "L504",
            "cap day",
            "nothing of class news is sent",
        ),
        (
            'quiet_hours: {all: {hours: "00:00-24:00", of: {tag: gone}}}',
            "L507",
            "quiet hours all",
            "cover every hour of the week",
        ),
        (
            "breaker: {each_rule: {per_minute: 10, per_hour: 400}, all: {per_minute: 50, per_hour: 300}}",
            "L509",
            "breaker",
            "per_hour: 400 is never reached: all rules together may have 300",
        ),
        (
            "holdout: {share: 1, salt: s}",
            "L508",
            "holdout",
            "is of all clients: nothing of class service, offers, news is sent to them",
        ),
    ],
)
def test_what_of_the_policy_is_wrong(policy: str, code: str, subject: str, said: str) -> None:
    rules = [*others(), of_class("service", "tagged", tags="[gone]", channels="[sms]")]
    (finding,) = [one for one in found(*rules, policy=CLASSES + policy) if one.code == code]
    assert finding.subject == subject
    assert said in finding.message
    assert finding.file == "policy.yaml"
    line = files(*rules, policy=CLASSES + policy)["policy.yaml"].splitlines()[finding.line - 1]
    assert line.lstrip().startswith(policy.split(":")[0])


@pytest.mark.parametrize(
    "policy",
    [
        "caps: {day: {at_most: 2, per: day, reserve: {slots: 1, for: service}}}",
        "caps: {day: {at_most: 1, per: day, of: {class: service}, reserve: {slots: 1, for: service}}}",
        "caps: {day: {at_most: 1, per: day, of: {class: risk}, reserve: {slots: 1, for: regulatory}}}",  # exempt
        'quiet_hours: {all: {hours: "00:00-23:59"}}',
        "quiet_hours: {free: {days: holidays}}",
        "holdout: {share: 0.5, salt: s}",
    ],
)
def test_silent_on_a_policy_that_works(policy: str) -> None:
    assert found(*others(), policy=CLASSES + policy) == []


def test_a_class_that_no_rule_has() -> None:
    (finding,) = found(*others("news"), policy=CLASSES)
    assert (finding.code, finding.severity, finding.subject) == ("L502", "note", "class news")
    assert finding.line == 1 + files(policy=CLASSES)["policy.yaml"].splitlines().index("  news: {}")
    staff = rule("s", audience="team", kind="task", **{"class": "news"})
    assert found(*others("news"), staff, policy=CLASSES) == []
    assert found(rule("x"), policy="") == []  # classes that nobody declared


def test_a_comment_allows_it() -> None:
    policy = CLASSES.replace("  news: {}", "  # lint: allow L502 kept for the spring\n  news: {}")
    assert found(*others("news"), policy=policy) == []


def test_its_work_grows_with_the_number_of_rules() -> None:
    """Each set of quiet hours is asked once, whatever the number of rules."""
    asked = []
    original = lint_policy._covers_the_week

    def counting(hours: Any) -> bool:
        asked.append(1)
        return original(hours)

    lint_policy._covers_the_week = counting
    try:
        many = [of_class("service", f"r{number}", channels="[sms]") for number in range(300)]
        lint(good(files(*many, policy=CLASSES + 'quiet_hours: {night: {hours: "21:30-08:00"}}')))
    finally:
        lint_policy._covers_the_week = original
    assert len(asked) < 20


def test_a_directory_says_nothing_of_pauses() -> None:
    rules = files(of_class("service"), policy="") | {"pauses.yaml": "paused: {}\n"}
    (finding,) = [one for one in lint(good(rules)) if one.code == "L510"]
    assert "publishing leaves it out" in finding.message


@pytest.mark.parametrize(
    ("policy", "fields", "names"),
    [
        ("", {}, ["regulatory, risk, service, relationship, marketing"]),
        ("classes: {urgent: {}, service: {}}", {}, ["urgent, service"]),
        ("", {"class": "marketing"}, []),
        ("", {"audience": "team"}, []),
    ],
)
def test_what_a_rule_of_an_older_release_may_add(policy, fields, names):
    rules = files(rule("x", cooldown="1d", **fields), policy=policy)
    said = [str(one) for one in lint(good(rules)) if one.code == "L511"]
    message = 'L511 note: rule "x": does not say its class: it is service; add class, one of'
    assert said == [f"rules.yaml:2:9: {message} {these}" for these in names]


@pytest.mark.parametrize(
    ("policy", "subjects"),
    [
        ("caps: {c: {at_most: 1, per: day, of: {team: risk_compliance}}}", ["cap c"]),  # its rule is for staff
        (
            "caps: {c: {at_most: 1, per: day, of: {class: risk}}}\nclasses: {risk: {exempt: [caps]}, service: {}}",
            ["cap c"],
        ),
        ("caps: {c: {at_most: 1, per: day, of: {channel: phone}}, d: {at_most: 2, per: day}}", ["cap c"]),
        ("rates: {r: {at_most: 1, per: hour, of: {kind: task}}, s: {at_most: 1, per: hour}}", ["rate r"]),
        ('quiet_hours: {q: {hours: "12:00-13:00", of: {kind: survey}}}', ["quiet hours q"]),
        ('quiet_hours: {q: {hours: "12:00-13:00", of: {kind: message}}}', []),
        ("rates: {r: {at_most: 1, per: hour, of: {class: risk}}}", ["rate r"]),  # exempt unless said otherwise
        ("classes: {risk: {not_while: {a: client.open_tasks > 3}}, work: {}, service: {}}", []),
        ("classes: {risk: {}, work: {not_while: {a: client.open_tasks > 3}}, service: {}}", ["class work"]),
    ],
)
def test_what_concerns_no_rule(policy, subjects):
    rules = (
        rule("x", kind="message", cooldown="1d"),
        rule("y", kind="message", cooldown="1d", **{"class": "risk"}),
        rule("z", kind="task", owner="risk_compliance", audience="team", cooldown="1d"),
        *([rule("w", kind="task", audience="team", cooldown="1d", **{"class": "work"})] if "work" in policy else []),
    )
    found_ = [one for one in lint(good(files(*rules, policy=policy))) if one.code == "L512"]
    assert [one.subject for one in found_] == subjects
    assert all(one.file == "policy.yaml" for one in found_)


def test_what_keeps_a_class_away_for_ever_or_never_is_found_and_is_a_use_of_what_it_asks():
    bars = "{a: visits > -1, b: visits < 0, c: client.open_complaints > 0}"
    texts = files(
        rule("x", when="client.tier == 'A'", cooldown="1d"), policy=f"classes: {{service: {{not_while: {bars}}}}}"
    )
    texts["features.yaml"] += "  visits: {source: logins, aggregate: count, window: 9d}\n"
    said = [(one.code, one.subject, one.file, one.line) for one in lint(good(texts)) if one.code not in ORDER]
    at = ("class service", "policy.yaml", 2)
    assert [one for one in said if one[0] in ("L101", "L102", "L306")] == [("L102", *at), ("L101", *at)]
