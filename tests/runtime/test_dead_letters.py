"""Dead letters as they are listed. That each is re-sent once is tried on a real broker (tests/kafka)."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace

from engine.operations.dead_letters import DeadLetter, listed


def letter(number: int, reason: str, resent: bool = False, value: bytes | None = b"\xff\x00") -> DeadLetter:
    return DeadLetter(f"0/{number}", reason, "what to mend", "trades", 2, number * 10, 5, None, value, resent)


LETTERS = [letter(0, "not_json"), letter(1, "future", resent=True), letter(2, "not_json", value=None)]


def test_counts_by_reason():
    lines = [line.split() for line in listed(LETTERS, None, False) if not line.startswith(" ")]
    assert lines == [["future", "1", "(1", "re-sent)"], ["not_json", "2", "(0", "re-sent)"], ["all", "3"]]
    assert [line.split() for line in listed([], None, False)] == [["all", "0"]]


def test_thousands_of_letters_of_one_kind_are_one_line():
    gzipped = [replace(letter(number, "not_json"), error="compressed by gzip: ...") for number in range(3_000)]
    odd = [replace(letter(number, "not_json"), error=f"error {number}", topic="logins") for number in range(9)]
    lines = list(listed([*odd, *gzipped, *LETTERS], None, False))
    assert lines[2].split() == ["not_json", "3011", "(0", "re-sent)"]
    assert lines[3].split() == ["3000", "trades:", "compressed", "by", "gzip:", "..."]
    assert lines[4].split() == ["2", "trades:", "what", "to", "mend"]
    assert lines[5].split() == ["1", "logins:", "error", "0"]
    assert lines[8].split()[:5] == ["6", "with", "6", "other", "errors:"]
    assert len(lines) == 10


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
