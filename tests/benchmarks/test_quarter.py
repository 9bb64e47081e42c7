"""A quarter of the simulator's firm, small: the table and the picture, byte for byte, and that its checks can fail."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks.quarter import COLUMNS, Quarter, play, table, weeks
from benchmarks.quarter_picture import picture
from engine.core.assign import choice
from tests.services.process import REPOSITORY

TABLE = """\
| week | clients with an advisor | load, mean | fullest | A: asked | at once | median | nine of ten | longest | nobody |
|---|---|---|---|---|---|---|---|---|---|
| 1 | 150 | 63% | 100% | 98 | 80 | 0.0 h | 4.0 h | 48.0 h | 1 |
| 2 | 151 | 64% | 100% | 3 | 0 | 55.8 h | 65.0 h | 65.0 h | 1 |
| 3 | 154 | 66% | 100% | 2 | 0 | 48.0 h | 48.0 h | 48.0 h | 0 |
"""
PICTURE = REPOSITORY / "docs/pictures/advisors.svg"


@pytest.fixture(scope="module")
def quarter() -> Quarter:
    return play(clients=200, days=17, seed=7)


def test_the_table_is_as_it_was(quarter: Quarter) -> None:
    assert "\n".join(table(quarter)) + "\n" == TABLE


def test_the_picture_shows_each_advisor_and_each_week(quarter: Quarter) -> None:
    shown = picture(quarter.loads, [(week.number, week.quantiles) for week in weeks(quarter)])
    names = [element.tag.rpartition("}")[2] + "." + element.get("class", "") for element in ET.fromstring(shown).iter()]
    assert names.count("polyline.one") == len(quarter.loads)
    assert (names.count("polyline.mean"), names.count("rect.half"), names.count("rect.most")) == (1, 3, 3)


def test_what_the_manual_shows_has_the_form_of_today(quarter: Quarter) -> None:
    assert f"| {' | '.join(COLUMNS)} |" in (REPOSITORY / "docs/care.md").read_text(encoding="utf-8")
    kept = PICTURE.read_text(encoding="utf-8")
    made = picture(quarter.loads, [(week.number, week.quantiles) for week in weeks(quarter)])
    assert kept.partition("</style>")[0] == made.partition("</style>")[0]


def test_somebody_above_capacity_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = choice.why_not

    def room_for_all(*about: Any) -> str:
        why = before(*about)
        return "" if why == "capacity" else why

    monkeypatch.setattr(choice, "why_not", room_for_all)
    monkeypatch.setattr("benchmarks.quarter.CAPACITY", 20)
    with pytest.raises(AssertionError, match=r"has 2\d of 20"):
        play(clients=120, days=2, seed=7)
