"""What a value that is not JSON looks like: an encoding, a compression, a serializer's bytes, another notation.

Enters: a value that no JSON parser accepts. Leaves: a sentence that names what it is and what the producer changes,
without any part of the value.
Holds: only refused values come here; it never raises, and its work is bounded by the size of an event.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

import msgpack

from engine.core.reading.notations import PLAIN, of_text

SERIALIZER: Final = f"set another serializer for this topic, and {PLAIN}"
_UNCOMPRESSED: Final = "send it uncompressed and let the producer compress (compression.type)"

_MARKS: Final = (  # those of UTF-32 before those of UTF-16, which they begin with
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\xc3\xaf\xc2\xbb\xc2\xbf", "UTF-8, encoded twice"),
    (b"+/v8", "UTF-7"),
    (b"+/v9", "UTF-7"),
    (b"\x84\x31\x95\x33", "GB18030"),
)
_COMPRESSED: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4 (its old frame)"),
    (b"LZ4Block", "lz4 (Java's blocks)"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x82SNAPPY", "snappy (Java's blocks)"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7-zip"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"Rar!", "rar"),
    (b"\x89LZO", "lzop"),
)
_SERIALIZED: Final = (
    (b"Obj\x01", "an Avro file (container)"),
    (b"\xc3\x01", "Avro with a single-object header"),
    (b"PAR1", "Parquet"),
    (b"ORC", "ORC"),
    (b"ARROW1", "Arrow"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
    (b"\xac\xed\x00\x05", "Java's own serialization"),
    (b":)\n", "Smile (binary JSON of Jackson)"),
    (b"\xe0\x01\x00\xea", "Ion"),
    (b"\x80\x02", "Python's pickle"),
    (b"\x80\x03", "Python's pickle"),
    (b"\x80\x04", "Python's pickle"),
    (b"\x80\x05", "Python's pickle"),
    (b"\xd9\xd9\xf7", "CBOR"),
    (b"%PDF", "PDF"),
    (b"8=FIX", "a FIX message"),
)
_OPENS: Final = ("{", "[", '"', "<")
_BINARY: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1d\x1f]")  # control characters that texts do not have


def of_value(value: bytes, parser_says: str = "") -> str | None:
    """What a value looks like that is not JSON; None if that is not known. `parser_says`: why a parser refused it."""
    if not value.strip(b"\x00"):
        return f"nothing but zero bytes: {PLAIN}"
    found = encoding(value) or compression(value) or _framing(value) or _marked(value)
    if found is not None:
        return found
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _other_letters(value) or _binary(value)
    if not text.lstrip().startswith(_OPENS) and _BINARY.search(text):
        return _binary(value)
    return of_text(text, parser_says)


# -- letters -----------------------------------------------------------------------------------------------------------


def encoding(value: bytes) -> str | None:
    for mark, name in _MARKS:
        if value.startswith(mark):
            return f"a byte order mark ({name}) at the beginning: {PLAIN} without a byte order mark"
    for codec in ("utf-32-be", "utf-32-le", "utf-16-be", "utf-16-le"):
        begins = value[:64].decode(codec, "ignore").lstrip()
        if begins.startswith(_OPENS) and " " <= begins[1:2] <= "~":
            return f"text in {codec[:6].upper()}, not in UTF-8: {PLAIN}"
    return None


def _other_letters(value: bytes) -> str | None:
    """Text in another encoding."""
    if value.startswith((b"\xc0\x7f", b"\xc0\x40", b"\xc0\x25", b"\xc0\x15")):
        return f"text in EBCDIC, an encoding of mainframes: {PLAIN}"
    if not value.lstrip()[:1].decode("latin-1").startswith(_OPENS) or b"\x00" in value:
        return None
    try:
        value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        pass
    else:
        return "half of a surrogate pair, which is not a character: the producer cuts texts within one"
    try:
        value.decode("gb18030")
    except UnicodeDecodeError:
        return f"text that is not UTF-8, such as Latin-1 or Windows-1252: {PLAIN}"
    return f"text that is not UTF-8, such as GBK (GB18030) or Latin-1: {PLAIN}"


# -- bytes -------------------------------------------------------------------------------------------------------------


def compression(value: bytes) -> str | None:
    for mark, name in _COMPRESSED:
        if value.startswith(mark):
            return f"compressed by {name}: {_UNCOMPRESSED}"
    if value[:1] == b"\x78" and int.from_bytes(value[:2], "big") % 31 == 0 and _inflates(value):
        return f"compressed by zlib (deflate): {_UNCOMPRESSED}"
    return None


def _inflates(value: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(value, 64))
    except zlib.error:
        return False


def _framing(value: bytes) -> str | None:
    """The schema's number that the serializers of a schema registry put before the payload."""
    first, length = value[:1], len(value)
    if first == b"\x03" and value[1:2] in (b"\x00", b"\x05") and length > 18:
        return f"begins with 03 and a schema's id: Schema Registry framing (AWS Glue); {SERIALIZER}"
    if first == b"\x01" and value[17:18] in (b"{", b"["):
        return f"begins with 01 and a schema's id: Schema Registry framing (Confluent); {SERIALIZER}"
    if first != b"\x00" or length < 6:
        return None
    if value[5:6] not in (b"{", b"[") and (value[9:10] in (b"{", b"[") or value[1:5] == bytes(4)):
        return f"begins with 00 and a schema's number of eight bytes: Schema Registry framing (Apicurio); {SERIALIZER}"
    return f"begins with 00 and a schema's number: Schema Registry framing (Confluent); {SERIALIZER}"


def _marked(value: bytes) -> str | None:
    return next((f"{name}, not JSON: {SERIALIZER}" for mark, name in _SERIALIZED if value.startswith(mark)), None)


def _binary(value: bytes) -> str:
    """Bytes that are not text."""
    name = next((name for name, holds in _SERIALIZATIONS if holds(value)), None)
    if name is not None:
        return f"{name}, not JSON: {SERIALIZER}"
    start = value.find(b'{"', 1, 64)
    if start > 0:
        return f"{start} bytes before the JSON, of a serializer or a compression such as snappy: {SERIALIZER}"
    return f"binary data, such as Avro or an encrypted value: {SERIALIZER}"


def _is_bson(value: bytes) -> bool:
    return int.from_bytes(value[:4], "little") == len(value) and value[-1] == 0


def _is_msgpack(value: bytes) -> bool:
    try:
        return isinstance(msgpack.unpackb(value, raw=True, strict_map_key=False), dict)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MemoryError, OverflowError):
        return False


def _is_cbor(value: bytes) -> bool:
    """A map whose first key is a text of some letters."""
    if not (0xA1 <= value[0] <= 0xB7 or value[0] == 0xBF) or len(value) < 3:
        return False
    key = value[2 : 2 + value[1] - 0x60]
    return 0x61 <= value[1] <= 0x77 and key.isascii() and key.decode().isprintable()


def _is_protobuf(value: bytes) -> bool:
    """Nothing but fields, two at least, of small numbers and of types that exist."""
    at, fields, end = 0, 0, len(value)
    while at < end:
        tag, at = _varint(value, at)
        if not 0 < tag >> 3 <= 1000:
            return False
        match tag & 7:
            case 0:
                number, at = _varint(value, at)
                at = end + 1 if number < 0 else at
            case 1:
                at += 8
            case 2:
                length, at = _varint(value, at)
                at = end + 1 if length < 0 else at + length
            case 5:
                at += 4
            case _:
                return False
        fields += 1
    return at == end and fields > 1


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends; -1 if none does."""
    number = 0
    for shift, byte in enumerate(value[at : at + 10]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, at + shift + 1
    return -1, at


_SERIALIZATIONS: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("BSON", _is_bson),
    ("MessagePack", _is_msgpack),
    ("CBOR", _is_cbor),
    ("Protobuf", _is_protobuf),
)
