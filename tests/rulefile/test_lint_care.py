"""What `engage lint` says of work that is seen through: the place, and what is doubtful there."""

from __future__ import annotations

import pytest

from engine.rulefile.lint.lint import lint
from tests.core.making import rule
from tests.core.test_items import TEAM
from tests.rulefile.sample import good
from tests.rulefile.test_care_page import files

CODES = ("L101", "L102", "L701", "L702", "L703")


def findings(care: str, **given: str) -> list[str]:
    texts = files(rule("r", care=care, **{**TEAM, "when": "client.cash_cny > 7", "expires": "2d", **given}))
    lines = texts["rules.yaml"].splitlines()
    found = [one for one in lint(good(texts)) if one.code in CODES]
    return [
        f"{one.code} {lines[one.line - 1][one.column - 1 :].split(':')[0]}: {one.message}; {one.remedy}"
        for one in found
    ]


@pytest.mark.parametrize(
    ("care", "said"),
    [
        (
            "{escalate: [{after: 3d, to: head}]}",
            "L701 escalate: is escalated to head after 3d, and the action expires after 2d; "
            "let it expire later, or come to it sooner",
        ),
        (
            "{remind: {after: 1d, every: 1d, times: 3}}",
            "L701 remind: reminds after 3d, and the action expires after 2d; let it expire later, or come to it sooner",
        ),
        (
            "{hours: business, overdue: 3d}",
            "L701 overdue: is overdue after 3d, and the action expires after 2d; "
            "let it expire later, or come to it sooner",
        ),
        (
            "{escalate: [{after: 4h, to: team}]}",
            "L702 escalate: is escalated to the team that has it already; escalate to the head, or remind",
        ),
        (
            "{remind: {after: 4h}, overdue: 2h}",
            "L703 remind: first reminds after 4h, when it is overdue already; "
            "remind sooner than after 2h, or not at all",
        ),
        (
            "{remind: {after: 90m}, escalate: [{after: 90m, to: head}]}",
            "L703 remind: first reminds after 1h 30m, when it is escalated to head already; "
            "remind sooner than after 1h 30m, or not at all",
        ),
        (
            "{overdue: 1h, ends_when: client.days_known < 0}",
            "L101 client.days_known < 0}",
        ),
        (
            "{overdue: 1h, ends_when: client.days_known >= 0}",
            "L102 client.days_known >= 0}",
        ),
    ],
)
def test_what_is_doubtful(care: str, said: str):
    (found,) = findings(care)
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("care", "given"),
    [
        ("{escalate: [{after: 2d, to: head}]}", {}),  # just before it expires
        ("{remind: {after: 1h, every: 1h, times: 9}, overdue: 4h, escalate: [{after: 5h, to: head}]}", {}),
        ("{escalate: [{after: 4h, to: team}, {after: 1d, to: head}]}", {"audience": "advisor"}),
        ("{overdue: 1h, ends_when: client.cash_cny < 5}", {}),
    ],
)
def test_what_is_not(care: str, given: dict[str, str]):
    assert findings(care, **given) == []
