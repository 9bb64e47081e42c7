"""Characters that people do not see, or take for others; and the forms that texts of the data have.

Enters: texts, as people wrote them. Leaves: where a character stands that cannot be meant, its name, what to write.
Holds: pure functions over tables of characters. A plain space and a line break are visible; every other blank is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

# Controls, blanks of other widths, what turns or joins letters, variation selectors, fillers, private use, lost text.
INVISIBLE: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
# What harms where it stands in a comment, too: it ends the line or turns what follows.
TURNING: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNNAMED: Final = {
    0x00: "NULL",
    0x07: "BELL",
    0x08: "BACKSPACE",
    0x09: "TAB",
    0x0A: "LINE FEED",
    0x0B: "VERTICAL TAB",
    0x0C: "FORM FEED",
    0x0D: "CARRIAGE RETURN",
    0x1B: "ESCAPE",
    0x7F: "DELETE",
    0x85: "NEXT LINE",
}
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]")
_BREAKS: Final = "\n\r\x0b\x0c\x85\u2028\u2029"
# What looks like a sign of ASCII -> that sign. Wide forms, ornate letters and digits follow from Unicode itself.
_ALIKE: Final = {
    ord(sign): plain
    for signs, plain in (
        ("“”„‟″〝〞「」『』«»", '"'),
        ("‘’‚‛′´`", "'"),
        ("‐‑‒–—―−﹣－⁃", "-"),
        ("，、﹐", ","),
        ("。", "."),
        ("：﹕∶", ":"),
        ("；﹔", ";"),
        ("【〔", "["),
        ("】〕", "]"),
        ("×∗✕", "*"),
        ("÷∕⁄", "/"),
        ("≥≧⩾", ">="),
        ("≤≦⩽", "<="),
        ("≠", "!="),
        ("〈‹", "<"),
        ("〉›", ">"),
        ("∼～", "~"),
        ("∧", "and"),
        ("∨", "or"),
        ("¬", "not"),
        ("∈", "in"),
    )
    for sign in signs
    if sign != "`"
} | {
    ord(sign): plain
    for signs, plains in (
        ("АВЕЅІЈКМНОРСТХУҮԌԛԝаеѕіјорсхуһԁ", "ABESIJKMHOPCTXYYGqwaesijopcxyhd"),  # Cyrillic
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧανοριυχ", "ABEZHIKMNOPTYXavopiux"),  # Greek
    )
    for sign, plain in zip(signs, plains, strict=True)
}  # fmt: skip


class Odd(NamedTuple):
    """A character at an offset of a text: what is wrong, what to write."""

    offset: int
    message: str
    remedy: str


def named(character: str) -> str:
    """`character U+200B (ZERO WIDTH SPACE)`"""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"byte 0x{code - 0xDC00:02X}, which is not UTF-8"
    name = unicodedata.name(character, "") or _UNNAMED.get(code, "")
    if not name:
        private = unicodedata.category(character) == "Co"
        name = "A SIGN OF ONE FONT ALONE" if private else "CONTROL" if code < 0xA0 else "NO CHARACTER"
    return f"character U+{code:04X} ({name})"


def unseen(text: str, start: int = 0) -> Odd | None:
    """The first character that nobody sees as what it is."""
    if text.isascii() and text.isprintable():  # most texts; it takes a tenth of the search
        return None
    found = INVISIBLE.search(text, start)
    return odd(text, found.start()) if found else None


def odd(text: str, offset: int) -> Odd:
    """What to say of an invisible character."""
    character = text[offset]
    remedy = "delete it"
    if character == "\t" or unicodedata.category(character) == "Zs":
        remedy = "write a plain space"
    elif character in _BREAKS:
        remedy = "write a line break, or delete it"
    elif character == "\ufffd":
        remedy = "a text was lost here when it was saved in another encoding: write it again"
    elif "\ufe00" <= character <= "\ufe0f":
        remedy = "delete it: the sign before it stays"
    elif "\ud800" <= character <= "\udfff":
        remedy = "save the file as UTF-8, and write the sign itself"
    return Odd(offset, named(character), remedy)


def visible(text: str) -> str:
    """What people see of a text: its odd blanks are plain ones, and what has no picture is gone."""
    return INVISIBLE.sub(lambda found: " " if unicodedata.category(found[0]) == "Zs" else "", text)


def plain(text: str) -> str:
    """The text with every character that looks like ASCII replaced by that; others stay."""
    return text if text.isascii() else "".join(map(_plain, text))


def _plain(character: str) -> str:
    if character.isascii():
        return character
    alike = _ALIKE.get(ord(character))
    if alike is not None:
        return alike
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(character) == "Zs":
        return " "
    if unicodedata.category(character) == "No":  # such as a raised 2: it means something else
        return character
    normal = unicodedata.normalize("NFKC", character)
    return normal if normal.isascii() else character


def disguised(text: str, start: int = 0) -> Odd | None:
    """The first character from `start` that is not ASCII but looks so; what to write is its whole word, if possible."""
    for found in _FOREIGN.finditer(text, start):
        offset, character = found.start(), found[0]
        if (alike := _plain(character)).isascii():
            meant = alike
            if alike.isalnum():
                begin, end = offset, offset + 1
                while begin > 0 and _in_word(text[begin - 1]):
                    begin -= 1
                while end < len(text) and _in_word(text[end]):
                    end += 1
                word = plain(text[begin:end]).strip(".")
                meant = word if word.isascii() else alike
            return Odd(offset, named(character), f"write: {meant}" if meant.strip() else "write a plain space")
    return None


def _in_word(character: str) -> bool:
    return character in "_." or _plain(character).isalnum()


@dataclass(frozen=True, slots=True)
class Form:
    """What every text of a name looks like. `says` completes "trade.symbol is ..."."""

    says: str
    fits: Callable[[str], bool]
    part: str  # a pattern: what a piece of one can be
    start: str = ""  # what its beginning can be, where that is less
    meant: Callable[[str], str] = plain  # how something that does not fit would be written

    def can_have(self, piece: str, function: str) -> bool:
        """Whether starts_with, ends_with, contains or has_code can hold for a text."""
        if function == "has_code" and " " in piece:
            return False
        pattern = self.start if self.start and function == "starts_with" else self.part
        return re.fullmatch(pattern, piece) is not None

    def instead(self, text: str) -> str | None:
        """What fits and was probably meant."""
        meant = self.meant(text)
        return meant if meant != text and self.fits(meant) else None


def _identifier(text: str) -> str:
    """Without what nobody sees, and with the signs of ASCII."""
    return "".join(plain(INVISIBLE.sub("", text)).split())


IDENTIFIER: Final = Form(
    says="1 to 64 characters of printable ASCII without blanks",
    fits=lambda text: re.fullmatch("[!-~]{1,64}", text) is not None,
    part="[!-~]{1,64}",
    meant=_identifier,
)
CODE: Final = "[!-~]{1,32}"  # a pattern
CODES: Final = Form(
    says="codes of 1 to 32 characters, joined by blanks",
    fits=lambda text: re.fullmatch(f"{CODE}( {CODE})*", text) is not None,
    part="[ -~]+",
)
_DAY: Final = re.compile(r"([0-9]{4})[-/.年]?([0-9]{1,2})[-/.月]?([0-9]{1,2})日?(?:[ T]00:00(?::00(?:\.0+)?)?)?")


def _day(text: str) -> str:
    found = _DAY.fullmatch(_identifier(text) if " " not in text else text)
    return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}" if found else text


DAY: Final = Form(
    says="a day such as 2026-10-01",
    fits=lambda text: re.fullmatch("[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", text) is not None,
    part="[0-9-]{1,10}",
    start="[0-9]{1,4}|[0-9]{4}-[0-9-]{0,5}",
    meant=_day,
)
