"""Dead letters as they are listed. That each is re-sent once is tried on a real broker (tests/kafka)."""

from __future__ import annotations

import json
from base64 import b64decode

from engine.operations.dead_letters import DeadLetter, listed


def letter(number: int, reason: str, resent: bool = False, value: bytes | None = b"\xff\x00") -> DeadLetter:
    return DeadLetter(f"0/{number}", reason, "what to mend", "trades", 2, number * 10, 5, None, value, resent)


LETTERS = [letter(0, "not_json"), letter(1, "future", resent=True), letter(2, "not_json", value=None)]


def test_counts_by_reason():
    lines = [line.split() for line in listed(LETTERS, None, False)]
    assert lines == [["future", "1", "(1", "re-sent)"], ["not_json", "2", "(0", "re-sent)"], ["all", "3"]]
    assert [line.split() for line in listed([], None, False)] == [["all", "0"]]


def test_the_letters_of_one_reason():
    lines = list(listed(LETTERS, "not_json", False))
    assert [line.split()[0] for line in lines] == ["0/0", "0/2"]  # the id that `resend` takes
    assert all("trades/2/" in line and "what to mend" in line for line in lines)
    assert next(listed(LETTERS, "future", False)).endswith("(re-sent)")


def test_as_json_nothing_is_lost():
    objects = [json.loads(line) for line in listed(LETTERS, None, True)]
    assert [o["id"] for o in objects] == ["0/0", "0/1", "0/2"]
    assert b64decode(objects[0]["value"]) == b"\xff\x00"
    assert objects[2]["value"] is None
    assert objects[0]["key"] is None
    assert (objects[1]["offset"], objects[1]["resent"]) == (10, True)
