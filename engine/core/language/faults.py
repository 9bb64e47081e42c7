"""Explains what Python's parser refuses to people who do not program: where, and what to write instead.

Enters: a text and its SyntaxError. Leaves: a Fault. Holds: it takes the time of a few searches; habits from other
languages, spreadsheets or Chinese keyboards have a remedy of their own.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from engine.core.language.types import Fault
from engine.core.text import disguised, named, plain

# Habits from other languages, and what to write here; the first that is near the fault is shown.
FOREIGN: Final = (
    ("&&", "write: and"),
    ("||", "write: or"),
    ("<>", "write: !="),
    ("=>", "write: >="),
    ("AND", "write: and"),
    ("OR", "write: or"),
    ("NOT", "write: not"),
    ("?", "write: a if test else b"),
    ("!", "write: not"),
    ("=", "write == to compare"),
    (";", "write one expression"),
)
# Of Python's own words, what to do.
SAID: Final = (
    ("was never closed", "write the other bracket, too"),
    ("unmatched", "remove it, or write the one that opens it"),
    ("unterminated string", "write a quote at the end of the text, too"),
)
LARGE: Final = {"万": 10_000, "亿": 100_000_000}
DURATIONS: Final = {"d": "days(7)", "day": "days(7)", "h": "hours(2)", "hour": "hours(2)", "min": "minutes(30)"}
WORDS: Final = ("and", "or", "not", "in", "if", "else", "is")
# A number followed at once by something else, and a comparison operator with a space in it.
MARKED: Final = re.compile(r"(?<![\w.\"'])(\d[\d_]{0,20}(?:\.\d{0,20})?)(\s?)(%|[^\W\d_]{1,20})")
OUTSIDE: Final = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$)|([^\x00-\x7f])""")
PARTED: Final = re.compile(r"([<>!=]) =")


def syntax_fault(text: str, error: SyntaxError, start: int) -> Fault:
    """`start`: how many characters of `text` the parser was not given."""
    offset = (error.offset or 0) - 1
    offset = min(offset + start, len(text)) if offset >= 0 else len(text)
    if marked := _marked_number(text, offset):
        return marked
    if (found := PARTED.match(text, max(offset - 2, 0))) is not None:
        return Fault(found.start(), f'not an expression: a space in "{found[1]} ="', f"write: {found[1]}=")
    if text.startswith("between ", offset):
        return Fault(offset, "not an expression: between", "write both bounds: 1 <= client.cash_cny <= 2")
    message = f"not an expression: {error.msg[:1].lower()}{error.msg[1:]}"
    if "leading zeros" in message:
        return Fault(offset, "a number that begins with 0", 'write it without; a day is date("2026-10-01")')
    near = text[max(offset - 1, 0) : offset + 3]
    remedy = next((say for sign, say in FOREIGN if sign in near), 'write an expression such as client.tier == "A"')
    remedy = next((say for words, say in SAID if words in message), remedy)
    if offset == len(text):
        message = "the expression ends too early"
    return Fault(offset, message, remedy)


def foreign_sign(text: str) -> Fault | None:
    """The first sign outside of quotes that is not ASCII. Python would read some as ASCII: a name would not be what it
    looks like.
    """
    if text.isascii():
        return None
    for found in OUTSIDE.finditer(text):
        if found[1]:
            offset, as_ascii = found.start(), plain(text)
            if len(as_ascii) == len(text) and (marked := _marked_number(as_ascii, offset)):
                return marked
            alike = disguised(text, offset)
            if alike is not None and alike.offset == offset:
                return Fault(offset, f"{alike.message} outside of quotes", alike.remedy)
            remedy = "leave it out; only text in quotes is in another script"
            return Fault(offset, f"{named(found[1])} outside of quotes", remedy)
    return None


def _marked_number(text: str, offset: int) -> Fault | None:
    """A number with a percent sign or letters behind it, where the parser gave up at or just after it."""
    for found in MARKED.finditer(text):
        number, space, mark = found.groups()
        if not found.start() <= offset <= found.end() + 1 or mark.lower() in WORDS:
            continue
        digits = Decimal(number.replace("_", ""))
        if mark == "%":
            remedy = f"write {(digits / 100).normalize():f}"
        elif mark in LARGE:
            remedy = f"write {int(digits * LARGE[mark]):_}"
        elif (unit := mark.lower()) in DURATIONS or unit.removesuffix("s") in DURATIONS:
            say = DURATIONS.get(unit) or DURATIONS[unit.removesuffix("s")]
            remedy = f"write a duration such as {say}; where days are counted, the number alone"
        else:
            remedy = "write digits alone, such as 1_000_000; a text is written in quotes"
        return Fault(found.start(), f'not a number: "{number}{space}{mark}"', remedy)
    return None
