"""Calculating in an expression: which units go together, and what the result's unit is.

Enters: checked numbers. Leaves: the checked result, or Refused with the reason.
Holds: what is written is calculated here, exactly; what is left to compiled code stays below 1e250, so that no
arithmetic in it overflows.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from engine.core.language.types import DURATION, MONEY, TIME, TINY_LOG10, number
from engine.core.language.units import WRITTEN, Checked, Refused, agree, constant, log10_of, unit_of, words

MAX_LITERAL: Final = 10**15
MAX_LOG10: Final = 250.0
DIMENSIONLESS: Final = (None, "ratio")
TIMES: Final = (None, "ratio", "count")  # what a duration is multiplied and divided by
CALCULATE: Final[dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: Fraction.__add__,
    ast.Sub: Fraction.__sub__,
    ast.Mult: Fraction.__mul__,
    ast.Div: Fraction.__truediv__,
}
VERBS: Final[dict[type[ast.operator], str]] = {ast.Add: "add", ast.Sub: "subtract"}


def written(node: ast.expr, value: Fraction, unit: str | None = None, *, literal: bool = True) -> Checked:
    """A number that is known when the rule is read."""
    if abs(value) > MAX_LITERAL * (100 if unit == MONEY else 1):
        raise Refused((node, "number too large", f"stay within {MAX_LITERAL:,}"))
    return Checked(node, constant(value), number(unit), literal=literal, log10=log10_of(value))


def negative(node: ast.expr, operand: Checked) -> Checked:
    if operand.type.unit == TIME:
        raise Refused((node, "a time has no sign", "subtract two times for a duration"))
    if operand.value is not None:
        return written(node, -operand.value, operand.type.unit, literal=operand.literal)
    tree = ast.UnaryOp(ast.USub(), operand.tree)
    return Checked(node, tree, operand.type, operand.literal, operand.optional, operand.log10)


def calculate(node: ast.BinOp, left: Checked, right: Checked) -> Checked:
    """Sum, difference, product or quotient."""
    literal, optional = left.literal and right.literal, left.optional or right.optional
    if isinstance(node.op, ast.Div):
        if right.value == 0:
            raise Refused((node.right, "division by zero", "write another divisor"))
        unit = _quotient_unit(node, left, right)
        log10 = left.log10 + (TINY_LOG10 if right.value is None else max(0.0, -math.log10(abs(right.value))))
        optional = optional or right.value is None
    elif isinstance(node.op, ast.Mult):
        unit, log10 = _product_unit(node, left, right), left.log10 + right.log10
    else:
        if TIME in (left.type.unit, right.type.unit):
            unit = _moved_unit(node, left, right)
        else:
            left, right = agree((left, right), VERBS[type(node.op)])
            unit = unit_of((left, right))
        log10 = max(left.log10, right.log10) + 1
    if left.value is not None and right.value is not None:
        return written(node, CALCULATE[type(node.op)](left.value, right.value), unit, literal=literal)
    if log10 > MAX_LOG10:
        raise Refused((node, "a product of too many values", "declare a feature or split the rule"))
    return Checked(node, ast.BinOp(left.tree, node.op, right.tree), number(unit), literal, optional, log10)


def _moved_unit(node: ast.BinOp, left: Checked, right: Checked) -> str:
    """time - time is a duration, time +- duration a time."""
    adds, units = isinstance(node.op, ast.Add), (left.type.unit, right.type.unit)
    if units == (TIME, TIME) and not adds:
        return DURATION
    if units == (TIME, DURATION) or (adds and units == (DURATION, TIME)):
        return TIME
    other = right if left.type.unit == TIME else left
    if other.type.unit == TIME:
        remedy = "subtract them, or add a duration such as days(7)"
    elif other.type.unit == DURATION:
        remedy = "write the time first"
    else:
        remedy = WRITTEN[DURATION]
    raise Refused((node, f"cannot {VERBS[type(node.op)]} {words(left.type)} and {words(right.type)}", remedy))


def _product_unit(node: ast.expr, left: Checked, right: Checked) -> str | None:
    units = (left.type.unit, right.type.unit)
    if TIME in units:
        raise Refused((node, "cannot multiply a time", "subtract two times for a duration"))
    if DURATION in units:
        other = right if units[0] == DURATION else left
        if other.type.unit in TIMES:
            return DURATION
        raise Refused((node, f"cannot multiply a duration by {words(other.type)}", "multiply a duration by a number"))
    if units == (MONEY, MONEY):
        raise Refused((node, "cannot multiply money by money", "multiply money by a number"))
    if MONEY in units:
        return MONEY
    if units[0] in DIMENSIONLESS:
        return units[1] or units[0]
    return units[0] if units[1] in DIMENSIONLESS else None


def _quotient_unit(node: ast.expr, left: Checked, right: Checked) -> str | None:
    dividend, divisor = left.type.unit, right.type.unit
    if TIME in (dividend, divisor):
        raise Refused((node, "cannot divide a time, or by one", "subtract two times for a duration"))
    if divisor == MONEY and dividend != MONEY:
        raise Refused((node, f"cannot divide {words(left.type)} by money", "divide money by money or by a number"))
    if dividend == divisor and dividend is not None:
        return "ratio"
    if divisor == DURATION or (dividend == DURATION and divisor not in TIMES):
        message = f"cannot divide {words(left.type)} by {words(right.type)}"
        raise Refused((node, message, "divide a duration by a duration or by a number"))
    return dividend if divisor in DIMENSIONLESS or dividend in (MONEY, DURATION) else None
