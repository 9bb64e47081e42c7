"""Fields of events that take more than one form: numbers, days, languages, time zones, codes, closed sets.

Enters: a field's value as JSON has it. Leaves: its one form, or a PydanticCustomError that repeats nothing of it.
Holds: numbers are exact; what JSON usually carries (an integer, a value of the set) is read by pydantic's own code, no
function of Python being called.
"""

from __future__ import annotations

import datetime as dt
import importlib.resources
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetPydanticSchema, ValidationInfo, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from engine.core.firm_time import day_number, day_start_ms
from engine.core.quick import Unread, Usual
from engine.core.text import CODE, CODES, Form, plain

MAX_QUANTITY: Final = 10**12
MAX_DECIMALS: Final = 6
DIMENSIONS: Final = ("assets", "behaviour", "risk", "needs")  # of the score, in this order
MICRO: Final = 10**MAX_DECIMALS
MAX_DIGITS: Final = 15  # of a quantity with decimals: a float distinguishes any such decimal numbers
MAX_NUMBER: Final = MAX_QUANTITY  # of a number that a rule set declares, on both sides of zero
EARLIEST_MS: Final = (
    946_684_800_000  # 2000-01-01T00:00:00Z: anything earlier is a unit mistake (seconds for milliseconds)
)
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01T00:00:00Z
_DECIMAL: Final = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,20})?", re.ASCII)


# -- fractions ---------------------------------------------------------------------------------------------------------


def noted(value: float, info: ValidationInfo) -> float:
    """Let whoever reads JSON know that a number was written with a point or an exponent: it may have more digits than a
    float keeps.
    """
    if info.context is not None:
        info.context.append(info.field_name)
    return value


# -- quantities and other numbers with decimals ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """Says what a number of exact decimals is bounded by; pydantic takes no notice of it."""

    ge: float
    le: float


def _decimal_of(value: Any, info: ValidationInfo, limits: Limits) -> int | float:
    """A number that is not written as an integer. A whole one becomes an integer."""
    if type(value) is float and math.isfinite(value):
        number = Decimal(repr(noted(value, info)))
    elif type(value) is str and _DECIMAL.fullmatch(value):
        number = Decimal(value)
    else:
        raise PydanticCustomError("quantity", "neither a number nor a decimal text")
    if not Decimal(repr(limits.ge)) <= number <= Decimal(repr(limits.le)):
        raise PydanticCustomError("quantity", "out of its range")
    millionths = number.scaleb(MAX_DECIMALS)
    if millionths != int(millionths) or len(number.normalize().as_tuple().digits) > MAX_DIGITS:
        raise PydanticCustomError("quantity", "more than six decimals, or than fifteen digits")
    return float(number) if int(millionths) % MICRO else int(number)


def _exact(limits: Limits, says: str) -> GetPydanticSchema:
    """Reads a number with at most six decimals, so that sums in millionths are exact."""

    def decimal(value: Any, info: ValidationInfo) -> int | float:
        return _decimal_of(value, info, limits)

    def schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        whole = core_schema.int_schema(ge=math.ceil(limits.ge), le=math.floor(limits.le), strict=True)
        return core_schema.union_schema(
            [whole, core_schema.with_info_plain_validator_function(decimal)],
            mode="left_to_right",
            custom_error_type="quantity",
            custom_error_message=f"{says}, with at most six decimals and fifteen digits",
        )

    return GetPydanticSchema(schema)


_POSITIVE: Final = Limits(1 / MICRO, MAX_QUANTITY)
Quantity = Annotated[
    int | float,
    _POSITIVE,
    Usual(Annotated[int, msgspec.Meta(gt=0, le=MAX_QUANTITY)]),
    _exact(_POSITIVE, "a number above 0"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_QUANTITY},
                {"type": "string", "pattern": r"^[0-9]{1,13}(\.[0-9]{1,6})?$"},
            ]
        }
    ),
]

_HELD: Final = Limits(0, MAX_QUANTITY)
QuantityHeld = Annotated[
    int | float,
    _HELD,
    Usual(Annotated[int, msgspec.Meta(ge=0, le=MAX_QUANTITY)]),
    _exact(_HELD, "a number from 0"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MAX_QUANTITY},
                {"type": "string", "pattern": r"^[0-9]{1,13}(\.[0-9]{1,6})?$"},
            ]
        }
    ),
]


def exact_number(least: float, most: float) -> Any:
    """The type of a number with decimals that a rule set declares."""
    limits = Limits(least, most)
    number = {"type": "number", "minimum": least, "maximum": most}
    text = {"type": "string", "pattern": r"^-?[0-9]{1,13}(\.[0-9]{1,6})?$"}
    return Annotated[
        int | float,
        limits,
        Usual(Annotated[int, msgspec.Meta(ge=math.ceil(least), le=math.floor(most))]),
        _exact(limits, f"a number from {least:,} to {most:,}"),
        WithJsonSchema({"anyOf": [number, text]}),
    ]


def micro(quantity: int | float | None) -> int | None:
    """A quantity in millionths, exactly: what is added up."""
    return None if quantity is None else round(quantity * MICRO)


def units(millionths: int | None) -> int | float | None:
    """Millionths as a quantity: an integer if it is whole, else the nearest number."""
    if millionths is None:
        return None
    whole, rest = divmod(millionths, MICRO)
    return millionths / MICRO if rest else whole


# -- days -------------------------------------------------------------------------------------------------------------


def _existing_date(text: str) -> str:
    try:
        dt.date.fromisoformat(text)
    except ValueError as error:
        raise PydanticCustomError("date_value", "no such day; write 2026-03-02") from error
    return text


DATE: Final = r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
Date = Annotated[
    str,
    Field(pattern=DATE, json_schema_extra={"format": "date"}),
    AfterValidator(_existing_date),
]


def _day_ms(value: Any) -> int:
    """2026-03-02 -> where that day begins by the firm's clock. Raises ValueError."""
    if type(value) is not str or re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII) is None:
        raise PydanticCustomError("date_type", "a date is a text such as 2026-03-02")
    moment_ms = day_start_ms(day_number(dt.date.fromisoformat(_existing_date(value))))
    if not EARLIEST_MS <= moment_ms < LATEST_MS:
        raise PydanticCustomError("time_range", "the date lies outside 2000 to 2100")
    return moment_ms


Day = Annotated[
    int,
    Usual(str, of_text=_day_ms),
    GetPydanticSchema(lambda _source, _handler: core_schema.no_info_plain_validator_function(_day_ms)),
    WithJsonSchema(
        {"type": "string", "format": "date", "pattern": r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"}
    ),
]


# -- languages and time zones ------------------------------------------------------------------------------------------

_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?", re.ASCII)
_USUAL_SCRIPT: Final = {"zh-CN": "Hans", "zh-SG": "Hans", "zh-TW": "Hant", "zh-HK": "Hant", "zh-MO": "Hant"}


@lru_cache(maxsize=1024)
def _language(text: str) -> str:
    """zh_cn, zh-Hans-CN and zh-CN are one: `zh-CN`."""
    found = _LANGUAGE.fullmatch(text)
    if found is None:
        raise PydanticCustomError("language", "not a language")
    language, script, region = found[1].lower(), (found[2] or "").title(), (found[3] or "").upper()
    plain = f"{language}-{region}" if region else language
    if not script or _USUAL_SCRIPT.get(plain) == script:
        return plain
    return f"{language}-{script}-{region}" if region else f"{language}-{script}"


def _language_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    plain = core_schema.str_schema(pattern=r"^[a-z]{2}(-[A-Z]{2})?$", strict=True)
    other = core_schema.no_info_after_validator_function(_language, core_schema.str_schema(strict=True))
    return core_schema.union_schema(
        [plain, other],
        mode="left_to_right",
        custom_error_type="language",
        custom_error_message="not a language such as zh-CN, en or zh-Hant",
    )


def _language_meant(text: str) -> str:
    try:
        return _language("".join(plain(text).split()))
    except PydanticCustomError:
        return text


LANGUAGE: Final = Form(
    says="written like zh-CN or en",
    fits=lambda text: _language_meant(text) == text and _LANGUAGE.fullmatch(text) is not None,
    part="[A-Za-z0-9-]{1,12}",
    start="[a-z]{1,3}|[a-z]{2,3}-[A-Z0-9][A-Za-z0-9-]*|[a-z]{2,3}-",
    meant=_language_meant,
)
Language = Annotated[
    str,
    LANGUAGE,
    GetPydanticSchema(_language_schema),
    WithJsonSchema({"type": "string", "pattern": f"^{_LANGUAGE.pattern.replace('?:', '')}$"}),
]

# The package's own list, not the machine's files: the same name is known everywhere.
ZONES: Final = frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text("ascii").split())


def _zone_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    return core_schema.custom_error_schema(
        core_schema.literal_schema(sorted(ZONES)),
        custom_error_type="time_zone",
        custom_error_message="not a time zone such as Asia/Shanghai or Etc/GMT-8",
    )


TimeZone = Annotated[
    str,
    GetPydanticSchema(_zone_schema),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", "maxLength": 64}),
]


# -- currencies --------------------------------------------------------------------------------------------------------


def _currency_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    return core_schema.custom_error_schema(
        core_schema.literal_schema(["CNY", "RMB"]),
        custom_error_type="currency",
        custom_error_message="amounts are in CNY: convert them, and send CNY or no currency",
    )


Currency = Annotated[
    str,
    Usual(Literal["CNY", "RMB"]),
    GetPydanticSchema(_currency_schema),
    WithJsonSchema({"type": "string", "enum": ["CNY", "RMB"]}),
]


# -- codes -------------------------------------------------------------------------------------------------------------

MAX_CODES: Final = 20


def _codes_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    code = core_schema.str_schema(pattern=f"^{CODE}$", strict=True)
    listed = core_schema.list_schema(code, min_length=1, max_length=MAX_CODES, strict=True)
    return core_schema.no_info_after_validator_function(lambda codes: " ".join(dict.fromkeys(codes)), listed)


# A list of codes in records, a text of them in rules, which has_code asks.
Codes = Annotated[
    str,
    CODES,
    GetPydanticSchema(_codes_schema),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{CODE}$"},
            "minItems": 1,
            "maxItems": MAX_CODES,
        }
    ),
]


# -- fields that are never unknown -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instead(Unread):
    """Marks a field of which rules always have a value: `value` stands for null, and for what cannot be read."""

    value: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        null = core_schema.no_info_after_validator_function(lambda _: self.value, core_schema.none_schema())
        return core_schema.union_schema([(handler(source), "value"), (null, "null")], mode="left_to_right")
