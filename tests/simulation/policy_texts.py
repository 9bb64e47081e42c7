"""The simulation's contact policy, and rules that contact clients so often that its caps and hours matter.

Enters: nothing. Leaves: texts of rule files. See rule_texts.py.
"""

from __future__ import annotations

from typing import Final

# What collects, is capped and is held is judged again by timers; the second set has none of it.
POLICY: Final = """\
contact: {daily_cap: 4}
classes:
  regulatory: {exempt: [consent, caps, quiet_hours, snooze, do_not_contact], counts: false, channels: [email]}
  risk: {exempt: [caps]}
  service: {when_quiet: hold, collect: 2m, by_answers: true}
  marketing: {when_quiet: other_channel}
caps:
  often: {at_most: 1, within: 3h, of: {kind: message}}
  each_day: {at_most: 3, per: day, zone: client, reserve: {slots: 1, for: service}}
  each_week: {at_most: 6, per: week, of: {class: [service, marketing]}, reserve: {for: calendar}}
  by_app: {at_most: 1, per: hour, of: {channel: app_push}}
quiet_hours:
  evening: {hours: "19:00-23:00"}
  lunch: {hours: "11:30-13:00", zone: firm, of: {channel: sms, class: [service, marketing]}}
  days_off: {days: holidays, of: {kind: survey}}
release_over: 30m
holdout: {share: 0.2, salt: simulated}
suitability: {products: products.csv}
rests: {sms: {after: 2, for: 9h}}
answers: {email: client.days_since_trade}
"""


def _rule(id_: str, on: str, kind: str, class_: str, channels: str, more: str = "") -> str:
    return f"""\
  - id: {id_}
    title: {id_}
    owner: wealth
    on: {on}
    {more or "when: client.days_known >= 0"}
    kind: {kind}
    audience: client
    class: {class_}
    channels: [{channels}]
    priority: {40 + len(id_)}
    cooldown: 10m
    expires: 12h
    template: {id_}
    description: A contact.
"""


CONTACTS: Final = (
    _rule("greeting", "logins", "message", "service", "sms, app_push")
    + _rule("offer", "[trades, logins]", "survey", "marketing", "app_push, sms", "when: trades_7d >= 1")
    + _rule("law", "[trades, balances]", "message", "regulatory", "email, app_push")
    + _rule("alarm", "balances", "message", "risk", "sms, email")
)
