"""docs/care.md: the record that it shows is what the shipped rule publishes, and its files are right. What is wrong
with `care` and with clocks is said at its place.
"""

import json
import re

import pytest

from engine.core.client import sections as stored
from engine.core.client.sections import pack, unpack
from engine.rulefile.tools.diff import differences
from tests.core.making import TIERS, Desk, at, balance, login, plan_of, profile, rule, shipped_plan
from tests.core.test_care import CALENDAR, OTHERS, WARN, sent, steps
from tests.core.test_items import TEAM
from tests.rulefile.sample import good, problems_of
from tests.rulefile.test_teams import TEAMS
from tests.services.process import REPOSITORY

PAGE = (REPOSITORY / "docs/care.md").read_text(encoding="utf-8")
SEEN, COMPLAINTS = (
    PAGE.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Work that is seen through", "Complaints")
)
FILES = {
    "features.yaml": "features:\n  assets_avg_cny_30d: "
    "{source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}\n",
    "tiers.yaml": TIERS,
    "policy.yaml": "contact: {daily_cap: 9}\n",
    "teams.yaml": TEAMS,
    "calendar.yaml": CALENDAR,
}


def files(*rules, **others):
    return {**FILES, "rules.yaml": "rules:\n" + "".join(rules), **others}


def test_the_record_is_what_the_shipped_rule_publishes():
    shown = json.loads(re.search(r"```json\n(.*?)```", SEEN, re.DOTALL)[1])
    desk = Desk(shipped_plan())
    start = 1_793_583_000_000  # 2026-11-02 09:30, in UTC+8
    desk.take(profile(start - 3_600_000, "C000186"), balance(start - 1_800_000, 100_000, "C000186", margin_ratio=1.4))
    (alert,) = desk.take(balance(start, 92_000, "C000186", kind="loss", amount_fen=800_000, margin_ratio=1.28))
    told = [one for one in desk.tick_all(start + 3 * 3_600_000, "C000186") if "step" in one]
    assert [one["step"] for one in told] == ["reminded", "escalated"]
    record = json.loads(
        next(m.value for m in reversed(desk.messages) if dict(m.headers)["ce_type"] == b"engage.care.v1")
    )
    assert shown | {"id": record["id"], "follows": alert["id"]} == record
    assert list(shown) == list(record)


@pytest.mark.parametrize("number", [0, 1])
def test_the_rules_of_the_page_are_right(number):
    text = (re.search(r"```yaml\n(.*?)```", part, re.DOTALL)[1] for part in (SEEN, COMPLAINTS))
    written = [*text][number]
    rest = "".join(
        f"    {name}: {value}\n"
        for name, value in (
            ("title", "T"), ("owner", "wealth"), ("priority", 1), ("cooldown", "1m"), ("expires", "1d"),
            ("template", "t"), ("description", "D."),
        )
    )  # fmt: skip
    (found,) = good(files(written + rest)).rules
    assert found.care is not None


BAD = (
    ("care: {}", "none of remind, overdue, escalate; write escalate: [{after: 4h, to: head}]"),
    ("care: {overdue: 0m}", "0m is out of range; write 30m or 12h or 7d, from 1m to 90d"),
    ("care: {overdue: 1h, hours: office}", 'unknown value "office"; allowed: all, business'),
    ("care: {hours: business, overdue: 30h}", "30h of business hours; write working days, such as 2d"),
    ("care: {remind: {after: 1h, times: 3}}", "times alone; write both, such as every: 1d and times: 3"),
    ("care: {remind: {after: 1h, every: 1h}}", "every alone; write both, such as every: 1d and times: 3"),
    (
        "care: {hours: business, remind: {after: 1h, every: 1d, times: 2}}",
        "days after hours, of business hours; write both in days, or both in hours",
    ),
    (
        "care: {remind: {after: 89d, every: 1d, times: 3}}",
        "the last would come after 90 days; remind less often: nothing is open for longer",
    ),
    (
        "care: {escalate: [{after: 1h, to: head}, {after: 2h, to: head}]}",
        "escalated to head twice; keep one: remind instead",
    ),
    ("care: {overdue: 1h, ends_when: client.nobody}", 'unknown name "client.nobody"'),
    (
        "unanswered: {of: warn, for: {otherwise: 1h}}",
        "lengths by severity of no complaint; write one, such as 2d: only complaints have a severity",
    ),
    ("unanswered: {of: complaint, for: {low: 1h}}", "missing key otherwise"),
    ("unanswered: {of: warn, for: 1h, until: acknowledged}", "until: acknowledged of no complaint"),
    ("unanswered: {of: warn, for: 1h, reopened: goes_on}", "reopened: goes_on of no complaint"),
)


@pytest.mark.parametrize(("said", "problem"), BAD, ids=[said for said, _ in BAD])
def test_what_is_wrong_is_said_at_its_place(said, problem):
    key, _, value = said.partition(": ")
    found = problems_of(files(WARN, rule("r", **TEAM, **{key: value})))
    assert len(found) == 1, found
    assert problem in str(found[0])
    assert found[0].rule == "r"


def test_what_needs_another_file_says_which():
    head = rule("r", care="{escalate: [{after: 1h, to: head}]}", **TEAM)
    without = {name: text for name, text in files(head).items() if name != "teams.yaml"}
    assert "to: head, and there is no teams.yaml; add it" in str(problems_of(without)[0])
    hours = rule("r", care="{hours: business, overdue: 1h}", **TEAM)
    without = {name: text for name, text in files(hours).items() if name != "calendar.yaml"}
    assert "there is no calendar.yaml" in str(problems_of(without)[0])
    client = rule("r", kind="survey", care="{overdue: 1h}")
    assert "care for a survey of audience client" in str(problems_of(files(client))[0])
    becomes = rule("r", becomes="client.cash_cny > 1", care="{overdue: 1h, ends_when: client.cash_cny < 1}", **TEAM)
    assert "ends_when beside becomes" in str(problems_of(files(becomes))[0])


def test_a_diff_names_what_changed():
    old = good(files(WARN, rule("r", unanswered="{of: complaint, for: 2d}", **TEAM)))
    new = good(
        files(
            WARN.replace("after: 4h, to: team", "after: 5h, to: team"),
            rule("r", unanswered="{of: complaint, for: {high: 4h, otherwise: 2d}, hours: business}", **TEAM),
        )
    )
    told = "\n".join(map(str, differences(old, new)))
    assert "4h becomes 5h" in told
    assert "unanswered hours: all becomes business" in told


def test_a_state_without_it_is_read():
    """As it was before items were seen through: version 1 of their section."""
    desk = Desk(plan_of(WARN, others=OTHERS))
    desk.take(profile(at(0, 8), advisor_id="A-1"))
    action = sent(desk, login(at(1)))
    version, client_id, sections = stored._unpack(pack(desk.plan.layout, desk.client))
    number, body = sections["items"]
    assert number == 2
    sections["items"] = [1, {"i": [item[:8] for item in body["i"]]}]
    desk.states["c1"] = unpack(desk.plan.layout, stored._pack([version, client_id, sections]))
    assert [item[1] for item in desk.client.items] == [action["id"]]
    assert steps(desk.tick_all(at(80))) == []  # it was sent by rules without care
