"""What a text that is not JSON looks like: XML, CSV, a form, what a program prints, JSON but for one thing.

Enters: a text that no JSON parser accepts, and what the parser said. Leaves: a sentence that names what it is and what
the producer changes, without any part of the text. Holds: it never raises.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, urlsafe_b64decode
from typing import Final

PLAIN: Final = "send the event as JSON text in UTF-8"

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}", re.ASCII)
_HEX: Final = re.compile(r"([0-9a-fA-F]{2}){8,}", re.ASCII)
_MAP: Final = re.compile(r"[\w.]*[{(\[]\s*[\w.]+=", re.ASCII)
_FORMS: Final = (  # what a whole text looks like, most particular first
    (re.compile(r"eyJ[\w-]+(\.[\w-]*){2,4}", re.ASCII), "a signed or encrypted token (JWT)"),
    (re.compile(r"%7[bB].*|%5[bB].*", re.DOTALL), "JSON encoded for a URL (%7B for a brace)"),
    (re.compile(r"(0x|\\x)[0-9a-fA-F]{8,}", re.ASCII), "bytes in hexadecimal"),
    (re.compile(r"(\)\]\}'|while\(1\)|for\(;;\)).*", re.DOTALL), "JSON behind a guard for browsers"),
    (re.compile(r"\x1e.*", re.DOTALL), "a JSON text sequence (a record separator before the JSON)"),
    (re.compile(r"MSH\|.*", re.DOTALL), "an HL7 message"),
    (re.compile(r"-----BEGIN .*", re.DOTALL), "a PEM block, such as an encrypted message"),
    (re.compile(r"[aO]:\d+:.*", re.DOTALL), "PHP's own serialization"),
    (re.compile(r"map\[.*", re.DOTALL), "an object as Go prints it"),
    (re.compile(r"[A-Za-z_$][\w$.]*\(\s*[{\[].*", re.DOTALL), "JSON within a call (JSONP)"),
    (re.compile(r"[\w.\[\]%+-]+=[^&\s]*(&[\w.\[\]%+-]+=[^&\s]*)+", re.ASCII), "a web form (name=value&name=value)"),
    (re.compile(_MAP.pattern + ".*", re.DOTALL), "an object as a program prints it ({name=value})"),
    (re.compile(r"\w+=[^\s,;|]*([\s,;|]+\w+=[^\s,;|]*)+"), "pairs of name=value"),
)
_YAML: Final = re.compile(r"(---\s+)?[\w.-]+:(\s.*|$)", re.DOTALL)
_BARE_NAME: Final = re.compile(r"\{\s*[A-Za-z_$][\w$]*\s*:")
_COMMENT: Final = re.compile(r'[,{}\[\]"\d\s](//|/\*)|^(//|/\*)')


def of_text(text: str, parser_says: str) -> str | None:
    text = text.strip(" \t\r\n")
    if not text:
        return f"nothing but blanks: {PLAIN}"
    if text[0] == "<":
        return f"XML or HTML, not JSON: {PLAIN}"
    if text[0] not in '{["' and (name := _notation(text)) is not None:
        return f"{name}, not JSON: {PLAIN}"
    return _nearly_json(text, parser_says)


def packed(text: str) -> str | None:
    """The notation in which a text holds JSON or what is compressed: base64 or hexadecimal. None: neither."""
    text = re.sub(r"\s", "", text[:1_000])
    if _HEX.fullmatch(text) and bytes.fromhex(text)[:1] in (b"{", b"["):
        return "hexadecimal"
    if not _BASE64.fullmatch(text):
        return None
    whole = text.rstrip("=")[: len(text) // 4 * 4]
    whole += "=" * (-len(whole) % 4)
    try:
        raw = urlsafe_b64decode(whole) if "-" in whole or "_" in whole else b64decode(whole)
    except (binascii.Error, ValueError):
        return None
    return "base64" if raw.lstrip().startswith((b"{", b"[", b"\x1f\x8b")) else None


def _notation(text: str) -> str | None:
    if (notation := packed(text)) is not None:
        return f"JSON in {notation}"
    found = next((name for form, name in _FORMS if form.fullmatch(text)), None)
    if found is None and _is_table(text):
        return "CSV, lines of values"
    return "YAML, lines of name: value" if found is None and _YAML.fullmatch(text) else found


def _is_table(text: str) -> bool:
    """Each line has as many separators as the first, two at least."""
    lines = text.splitlines()[:5]
    return any(
        (number := lines[0].count(mark)) >= 2 and all(line.count(mark) == number for line in lines)
        for mark in (",", ";", "\t", "|")
    )


_PARSER: Final = (  # what the parser says, and what is said of it
    ("EOF while parsing", "the JSON ends in the middle: it was cut off; find what limits its length"),
    ("hex escape", "half of a surrogate pair (\\ud800 to \\udfff), which is not a character: the producer cuts texts "
     "within one"),
    ("control character", "a control character within a text: escape it, or take it out"),
    ("recursion limit", "objects or lists nested too deeply: send the event flat"),
    ("number out of range", "a number of thousands of digits: send amounts in fen, as whole numbers"),
    ("trailing comma", "JSON with a comma too many: write it by a JSON library"),
    ("invalid escape", "a backslash before a letter that has no meaning there: write JSON by a JSON library"),
    ("invalid number", "a number as JSON does not have it (01, +1, .5, 0x1): write JSON by a JSON library"),
)  # fmt: skip


def _nearly_json(text: str, parser_says: str) -> str | None:
    """JSON but for one thing."""
    said = _what_follows(text) or next((remark for part, remark in _PARSER if part in parser_says), None)
    if said is not None:
        return said
    if re.match(r"[{\[]\s*'", text):
        return f"an object as Python prints it (single quotes), not JSON: {PLAIN}"
    if _MAP.match(text):
        return f"an object as a program prints it ({{name=value}}), not JSON: {PLAIN}"
    if _COMMENT.search(text):
        return f"JSON with a comment, which JSON does not have: {PLAIN}"
    if _BARE_NAME.match(text):
        return f"JavaScript or JSON5 (names without quotes), not JSON: {PLAIN}"
    return None


def _what_follows(text: str) -> str | None:
    """What stands after a whole JSON value."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].strip(" \t\r\n")
    if not rest or text[0] not in '{["':
        return None
    if not rest.strip("\x00"):
        return "zero bytes after the JSON: send no more of the buffer than was written"
    if rest.lstrip(" \t\r\n,;\x1e")[:1] in ("{", "["):
        return "several JSON values in one record (such as NDJSON): send each event as a record of its own"
    return f"something after the JSON: {PLAIN} and nothing else"
