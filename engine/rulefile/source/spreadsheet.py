"""What spreadsheets make of texts and numbers, and what was there before.

Enters: cells' texts. Leaves: what is wrong with each, what to write; certain, or only likely.
Holds: certain is what no event can have in any text of the data, or what no number looks like.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from engine.core.text import plain

Said = tuple[str, str]  # what is wrong, what to do
_POWERS: Final = re.compile(r"[+-]?([0-9]+)(?:[.,]([0-9]+))?[eE]([+-]?)([0-9]{1,3})")
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:[' ][0-9]{3})+")
_FORMULA: Final = re.compile(r'="([^"]*)"')
_ERROR: Final = re.compile(r"#(?:N/A|NV|[A-Z0-9/ÄÖÜ_]+[!?]|#+)")
_MONTH: Final = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
DATE: Final = re.compile(
    rf"[0-9]{{1,4}}[-/.年][0-9]{{1,2}}[-/.月][0-9]{{1,4}}日?(?:[ T][0-9:.]+)?"
    rf"|[0-9]{{1,2}}[-/ ]{_MONTH}(?:[-/ ][0-9]{{2,4}})?|{_MONTH}[-/ ][0-9]{{1,4}}|[0-9]{{1,2}}月[0-9]{{1,2}}日",
    re.IGNORECASE,
)
_EMPTY: Final = ("nan", "null", "none", "n/a", "(null)", "nil", "undefined", "<na>")
_TEXT_COLUMN: Final = "format the column as text before it is filled"
MIN_DIGITS: Final = 4  # numbers shorter than all others of at least so many digits have lost their zeros


def damage(text: str) -> Said | None:
    """What a spreadsheet has certainly made of a text."""
    if _ERROR.fullmatch(text):
        return f'an error of a spreadsheet: "{text}"', "mend its formula, or write the value"
    if re.match(r'=(?:"|[+-]?[0-9]|[A-Z]+\(|\$?[A-Z]{1,3}\$?[0-9])', text):
        inner = _FORMULA.fullmatch(text)
        return f'a formula of a spreadsheet: "{text[:40]}"', f"write {inner[1]}" if inner else "write its value"
    if text.startswith("'"):
        return f'an apostrophe of a spreadsheet: "{text[:40]}"', f"write {text[1:41]}"
    powers = _POWERS.fullmatch(text)
    if powers and (powers[2] or powers[3]):
        digits, exponent = powers[1] + (powers[2] or "").rstrip("0"), int(powers[4])
        whole = len(powers[1]) + exponent >= len(digits) and powers[3] != "-"
        exact = whole and len(digits) == len(powers[1]) + exponent
        before = f"perhaps it was {digits}" if exact else "its digits are lost"
        return f'a number in powers of ten: "{text}"', f"{before}: write all digits; {_TEXT_COLUMN}"
    if _THOUSANDS.fullmatch(text):
        return f'thousands marks: "{text}"', f"write {re.sub('[^0-9]', '', text)}"
    return None


def likely_damage(text: str) -> Said | None:
    """What a spreadsheet, or a tool that exports one, has probably made of a text."""
    if re.fullmatch(r"[0-9]+\.0+", text):
        return "looks like a number with decimals", f"write {text.partition('.')[0]}, with the zeros it began with"
    if text in ("TRUE", "FALSE", "WAHR", "FALSCH", "VRAI", "FAUX"):
        return "looks like the true or false of a spreadsheet", "write the text that was there"
    if text.lower() in _EMPTY:
        return "looks like a word for an empty cell", "remove it, or write the value"
    if _POWERS.fullmatch(text):
        return "looks like a number in powers of ten", f"write all digits; {_TEXT_COLUMN}"
    if re.fullmatch("[0-9]+,[0-9]+", text):
        return "looks like a decimal comma", f"write {text.replace(',', '.')}"
    meant = unscrambled(text)
    if meant is not None:
        return "looks like UTF-8 that was read in another encoding", f'write "{meant}"; save files as UTF-8'
    return None


def unscrambled(text: str) -> str | None:
    """A text that was saved as UTF-8 and read as Windows-1252, as it was before."""
    if text.isascii():
        return None
    try:
        meant = text.encode("cp1252").decode()
    except ValueError:
        return None
    return meant if meant != text else None


def cut_zeros(texts: Sequence[str]) -> dict[str, Said]:
    """Numbers that are shorter than those beside them."""
    lengths = Counter(len(text) for text in map(_digits, texts) if text)
    usual = max(lengths, key=lambda length: (lengths[length], length), default=0)
    if usual < MIN_DIGITS:
        return {}
    found = {}
    for text in texts:
        if text.isascii() and text.isdigit() and len(text) < usual and not text.startswith("0"):
            digits = "1 digit" if len(text) == 1 else f"{len(text)} digits"
            said = f'"{text}" has {digits}, the others {usual}: it looks like zeros cut by a spreadsheet'
            found[text] = (said, f"write {text.zfill(usual)}; {_TEXT_COLUMN}")
    return found


def _digits(text: str) -> str:
    """The digits of a code, also behind the commonest damage; empty if it is no number."""
    powers = _POWERS.fullmatch(text)
    if powers:
        digits = powers[1] + (powers[2] or "").rstrip("0")
        return digits if len(digits) == len(powers[1]) + int(powers[4]) else ""
    inner = _FORMULA.fullmatch(text)
    text = plain((inner[1] if inner else text).strip("'"))
    return text if text.isascii() and text.isdigit() else ""


def number_meant(text: str) -> str | None:
    """A number as rule files write it, for one that was written otherwise; None if it is not clear."""
    text = plain(text).strip()
    sign = ""
    if text.startswith("(") and text.endswith(")"):
        sign, text = "-", text[1:-1].strip()
    inner = _FORMULA.fullmatch(text)
    text = (inner[1] if inner else text).strip("'")
    text = re.sub(r"^(?:CNY|RMB|[¥$€])|(?:CNY|RMB|元|圆)$", "", text.strip(), flags=re.IGNORECASE).strip()
    if text[:1] in "+-" and text:
        sign, text = "-" if (text[0] == "-") != (sign == "-") else "", text[1:].strip()
    scale = Decimal(1)
    for mark, factor in (("%", Decimal("0.01")), ("万", Decimal(10_000)), ("亿", Decimal(100_000_000))):
        if text.endswith(mark):
            text, scale = text.removesuffix(mark).strip(), factor
    if _THOUSANDS.fullmatch(text.partition(".")[0]) and re.fullmatch("[0-9]*", text.partition(".")[2]):
        text = re.sub("[,' ]", "", text)
    elif re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3}){2,}", text):
        text = text.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[0-9]+,[0-9]+", text):
        text = text.replace(",", ".")
    elif not _POWERS.fullmatch(text) and not re.fullmatch(r"[0-9][0-9_]*(?:\.[0-9]+)?", text):
        return None
    number = Decimal(text.replace("_", "").replace(",", ".")) * scale
    if abs(number) >= 10**15 or number != round(number, 10):
        return None
    shown = f"{number.normalize():f}"
    whole, point, rest = shown.partition(".")
    return f"{sign}{int(whole):_}{point}{rest}"
