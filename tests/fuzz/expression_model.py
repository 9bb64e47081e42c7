"""What an expression means, by walking its syntax tree: slow, and written from docs/rules.md alone.

Enters: a text, what names there are, their values. Leaves: the value, None when it is missing; or No, when the text is
refused. Nothing of the engine is used.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import math
import operator
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

DAY_MS = 86_400_000
UTC8 = dt.timedelta(hours=8)
UNITS_OF_WRITTEN = {"days": ("duration", DAY_MS), "hours": ("duration", DAY_MS // 24), "minutes": ("duration", 60_000)}
PARTS = {"hour": "hour", "day": "day", "month": "month", "year": "year", "weekday": None, "date_of": None}
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ORDER = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
SUMS = {ast.Add: operator.add, ast.Sub: operator.sub}


class No(Exception):
    """The text is not in the language, or makes no sense."""


@dataclass(frozen=True)
class Known:
    """A name: `texts` are an enum's values, or those of a list."""

    kind: str  # number, text, bool, list, or defined: `text` says by what
    unit: str | None = None
    texts: tuple[str, ...] | None = None
    text: str = ""


@dataclass(frozen=True)
class Part:
    kind: str
    value: Any  # None when missing; a Fraction when written out
    unit: str | None = None
    texts: tuple[str, ...] | None = None
    free: bool = False  # made of written values without a unit: takes that of what it meets
    fen: Any = None  # its value when what it meets is money; No when that has too many decimals


def evaluate(text: str, known: Mapping[str, Known], values: Mapping[str, Any]) -> Any:
    """The value as the engine stores it: money in fen, times in milliseconds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text.replace("\n", " ").strip(), mode="eval").body
    except SyntaxError:
        raise No from None
    return plain(Walk(known, values).walk(body).value)


def plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def written(value: Fraction, unit: str | None = None) -> Part:
    if unit is not None:
        return Part("number", value, unit)
    return Part("number", value, free=True, fen=value * 100 if (value * 100).denominator == 1 else No)


def calculated(value: Any, unit: str | None, free: bool) -> Part:
    return Part("number", value, unit, free=free, fen=None if value is None else value * 100)


def is_written(part: Part) -> bool:
    return part.kind == "number" and isinstance(part.value, Fraction)


def need(condition: object) -> None:
    if not condition:
        raise No


class Walk:
    def __init__(self, known: Mapping[str, Known], values: Mapping[str, Any]) -> None:
        self.known, self.values = known, values

    def walk(self, node: ast.expr) -> Part:
        match node:
            case ast.Constant(value=bool(value)):
                return Part("bool", value)
            case ast.Constant(value=str(value)):
                return Part("text", value, texts=(value,), free=True)
            case ast.Constant(value=int(value)):
                return written(Fraction(value))
            case ast.Constant(value=float(value)):
                need(math.isfinite(value))
                return written(Fraction(Decimal(repr(value))))
            case ast.Name() | ast.Attribute():
                return self.name(node)
            case ast.BoolOp():
                values = [self.truth(value) for value in node.values]
                return Part("bool", all(values) if isinstance(node.op, ast.And) else any(values))
            case ast.UnaryOp(op=ast.Not()):
                return Part("bool", not self.truth(node.operand))
            case ast.UnaryOp(op=ast.USub()):
                part = self.number(node.operand)
                need(part.unit != "time")
                if is_written(part):
                    return written(-part.value, part.unit)
                return calculated(None if part.value is None else -part.value, part.unit, part.free)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.IfExp():
                return self.choice(node)
            case ast.Call(func=ast.Name(id=function), keywords=[]):
                return self.call(function, node.args)
        raise No

    def truth(self, node: ast.expr) -> bool:
        part = self.walk(node)
        need(part.kind == "bool")
        return part.value is True

    def number(self, node: ast.expr) -> Part:
        part = self.walk(node)
        need(part.kind == "number")
        return part

    def name(self, node: ast.expr) -> Part:
        name = ast.unparse(node)
        need(name in self.known and re.fullmatch(r"[\w.]+", name))
        known = self.known[name]
        if known.kind == "defined":
            part = self.walk(ast.parse(known.text, mode="eval").body)
            return replace(part, value=plain(part.value), free=False)
        need(known.kind != "list")
        value = self.values[name]
        return Part(known.kind, value is True if known.kind == "bool" else value, known.unit, known.texts)

    def listed(self, node: ast.expr) -> tuple[list[Part], bool]:
        """What stands after in: the parts, and whether it is a declared list."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            known = self.known.get(ast.unparse(node))
            need(known is not None and known.kind == "list")
            assert known is not None
            texts = known.texts or ()
            return [Part("text", text, texts=(text,), free=True) for text in texts], True
        need(isinstance(node, (ast.Tuple, ast.List, ast.Set)) and node.elts)
        assert isinstance(node, (ast.Tuple, ast.List, ast.Set))
        parts = [self.walk(item) for item in node.elts]
        need(
            all(is_written(part) or isinstance(item, ast.Constant) for part, item in zip(parts, node.elts, strict=True))
        )
        need(all(part.kind != "bool" for part in parts))
        return parts, False

    def agree(self, parts: list[Part], comparing: bool) -> list[Any]:
        """The values, written numbers in the unit of the rest."""
        need(len({part.kind for part in parts}) == 1)
        if parts[0].kind == "text" and comparing:
            fixed = [part for part in parts if not part.free and part.texts is not None]
            for part in fixed:
                for other in parts:
                    texts = set(other.texts or ())
                    need(not other.free or texts <= set(part.texts or ()))
                    need(other.texts is None or not texts.isdisjoint(part.texts or ()))
        if parts[0].kind != "number":
            return [part.value for part in parts]
        unit = unit_of(parts)
        for part in parts:
            if part.unit is None and unit is not None:
                need(unit not in ("time", "duration") and (part.free or unit != "cny"))
            need(part.unit in (None, unit))
        fen = [part.free and unit == "cny" for part in parts]
        need(not any(part.fen is No for part, money in zip(parts, fen, strict=True) if money))
        return [part.fen if money else part.value for part, money in zip(parts, fen, strict=True)]

    def arithmetic(self, node: ast.BinOp) -> Part:
        need(isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)))
        left, right = self.number(node.left), self.number(node.right)
        a, b, free = left.value, right.value, left.free and right.free
        units = (left.unit, right.unit)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            if "time" in units:
                adds = isinstance(node.op, ast.Add)
                allowed = {("time", "duration"): "time", ("duration", "time") if adds else ("time", "time"): ""}
                need(units in allowed)
                unit: str | None = allowed[units] or ("time" if adds else "duration")
            else:
                a, b = self.agree([left, right], comparing=False)
                unit = unit_of([left, right])
            act = SUMS[type(node.op)]
        elif isinstance(node.op, ast.Mult):
            unit, act = product(*units), operator.mul
        else:
            need(not (is_written(right) and b == 0))
            unit, act = quotient(*units), divide
        if is_written(left) and is_written(right):
            return written(act(a, b), unit) if free else Part("number", act(a, b), unit)
        return calculated(None if a is None or b is None else act(plain(a), plain(b)), unit, free)

    def comparison(self, node: ast.Compare) -> Part:
        if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            need(len(node.ops) == 1)
            left = self.walk(node.left)
            need(left.kind != "bool")
            listed, _ = self.listed(node.comparators[0])
            value, *values = self.agree([left, *listed], comparing=True)
            found = plain(value) in [plain(v) for v in values]
            return Part("bool", value is not None and found is isinstance(node.ops[0], ast.In))
        need(all(type(op) in ORDER for op in node.ops))
        parts = [self.walk(item) for item in (node.left, *node.comparators)]
        need(all(part.kind != "bool" for part in parts))
        given = [plain(value) for value in self.agree(parts, comparing=True)]
        if parts[0].kind == "text":
            need(all(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops))
        if None in given:
            return Part("bool", False)
        pairs = zip(node.ops, given, given[1:], strict=False)
        return Part("bool", all(ORDER[type(op)](a, b) for op, a, b in pairs))

    def choice(self, node: ast.IfExp) -> Part:
        test, body, other = self.truth(node.test), self.walk(node.body), self.walk(node.orelse)
        a, b = self.agree([body, other], comparing=False)
        free = body.free and other.free
        chosen, value = (body, a) if test else (other, b)
        value = plain(value)
        if body.kind == "text":
            texts = None if body.texts is None or other.texts is None else (*body.texts, *other.texts)
            return Part("text", value, texts=texts, free=free)
        fen = No if No in (body.fen, other.fen) else plain(chosen.fen)
        return Part(body.kind, value, unit_of([body, other]), free=free, fen=fen)

    def call(self, function: str, nodes: list[ast.expr]) -> Part:
        if function == "known":
            need(len(nodes) == 1 and isinstance(nodes[0], (ast.Name, ast.Attribute)))
            self.name(nodes[0])
            known = self.known[ast.unparse(nodes[0])]
            value = self.name(nodes[0]).value if known.kind == "defined" else self.values[ast.unparse(nodes[0])]
            return Part("bool", value is not None)
        if function in ("starts_with", "ends_with", "contains", "has_code"):
            return self.text_call(function, nodes)
        parts = [self.walk(node) for node in nodes]
        if function == "draw":
            return self.draw(nodes, parts)
        if function in ("min", "max", "abs", "round"):
            return self.number_call(function, parts)
        need(len(parts) == 1)
        part = parts[0]
        if function in UNITS_OF_WRITTEN or function == "cny":
            need(is_written(part) and part.free)
            unit, scale = UNITS_OF_WRITTEN.get(function, ("cny", 100))
            need(unit != "cny" or part.fen is not No)
            return Part("number", part.value * scale, unit)
        if function == "date":
            need(isinstance(nodes[0], ast.Constant) and isinstance(part.value, str))
            need(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", part.value))
            try:
                day = dt.datetime.fromisoformat(part.value)
            except ValueError:
                raise No from None
            return Part(
                "number",
                Fraction((day - dt.datetime(1970, 1, 1)) // dt.timedelta(days=1) * DAY_MS - DAY_MS // 3),
                "time",
            )
        need(function in PARTS and part.kind == "number" and part.unit == "time")
        return self.calendar(function, part.value)

    def calendar(self, function: str, time_ms: Any) -> Part:
        texts = WEEKDAYS if function == "weekday" else None
        kind = "text" if function in ("weekday", "date_of") else "number"
        moment = None
        if time_ms is not None:
            try:
                moment = dt.datetime(1970, 1, 1) + (dt.timedelta(milliseconds=math.floor(time_ms)) + UTC8)
            except OverflowError:
                moment = None
        value: Any = None
        if moment is not None and function == "weekday":
            value = WEEKDAYS[moment.weekday()]
        elif moment is not None:
            value = moment.date().isoformat() if function == "date_of" else getattr(moment, function)
        return Part(kind, value, PARTS[function], texts)

    def number_call(self, function: str, parts: list[Part]) -> Part:
        need(all(part.kind == "number" for part in parts))
        need(len(parts) == 1 if function in ("abs", "round") else 2 <= len(parts) <= 20)
        values = self.agree(parts, comparing=False)
        unit, free = unit_of(parts), all(part.free for part in parts)
        need(not (function == "round" and unit in ("time", "duration")) and not (function == "abs" and unit == "time"))
        exact = all(isinstance(value, Fraction) for value in values)
        if None in values:
            return calculated(None, unit, free)
        given = values if exact else [plain(value) for value in values]
        if function in ("min", "max"):
            result = (min if function == "min" else max)(given)
        elif function == "abs":
            result = abs(given[0])
        else:
            result = round(given[0] / 100) * 100 if unit == "cny" else round(given[0])
        if not exact:
            return calculated(result, unit, free)
        return written(Fraction(result), unit) if free else Part("number", Fraction(result), unit)

    def draw(self, nodes: list[ast.expr], parts: list[Part]) -> Part:
        need(2 <= len(parts) <= 3 and parts[0].kind == "text")
        need(isinstance(nodes[1], ast.Constant) and isinstance(nodes[1].value, str) and nodes[1].value)
        need(all(part.kind == "number" and part.unit not in ("cny", "time", "duration") for part in parts[2:]))
        values = [part.value for part in parts]
        if None in values:
            return Part("number", None, "draw")
        lots = [values[1], *(format(plain(anew), ".0f") for anew in values[2:]), values[0]]
        drawn = hashlib.blake2b("\0".join(lots).encode(), digest_size=6).digest()
        return Part("number", int.from_bytes(drawn, "big") * 10_000 // 2**48 / 100, "draw")

    def text_call(self, function: str, nodes: list[ast.expr]) -> Part:
        need(len(nodes) == 2)
        part = self.walk(nodes[0])
        need(part.kind == "text")
        if isinstance(nodes[1], ast.Constant):
            need(isinstance(nodes[1].value, str) and nodes[1].value)
            texts = [nodes[1].value]
        else:
            listed, declared = self.listed(nodes[1])
            need(all(item.kind == "text" and item.value for item in listed))
            need(not (declared and function == "contains" and len(listed) > 1000))
            texts = [item.value for item in listed]
        test = {
            "starts_with": str.startswith,
            "ends_with": str.endswith,
            "contains": str.__contains__,
            "has_code": lambda codes, code: code in codes.split(" "),
        }[function]
        return Part("bool", part.value is not None and any(test(part.value, text) for text in texts))


def unit_of(parts: list[Part]) -> str | None:
    return next((part.unit for part in parts if part.unit is not None), None)


def divide(a: Any, b: Any) -> Any:
    return None if -1e-30 < b < 1e-30 else a / b


def product(a: str | None, b: str | None) -> str | None:
    need("time" not in (a, b))
    if "duration" in (a, b):
        need((b if a == "duration" else a) in (None, "ratio", "count"))
        return "duration"
    need(not a == b == "cny")
    if "cny" in (a, b):
        return "cny"
    if a in (None, "ratio"):
        return b or a
    return a if b in (None, "ratio") else None


def quotient(a: str | None, b: str | None) -> str | None:
    need("time" not in (a, b))
    need(b != "cny" or a == "cny")
    need(b != "duration" or a == "duration")
    if a == b and a is not None:
        return "ratio"
    need(a != "duration" or b in (None, "ratio", "count"))
    return a if b in (None, "ratio") or a in ("cny", "duration") else None
