"""A calculator: arithmetic as Python writes it, and nothing else of Python."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from lab.errors import InputError, cut
from lab.workflows.tools.tool import Arguments, ToolContext, Traits, described

Number = int | float

MOST_CHARACTERS: Final = 500
MOST_BITS: Final = 4096
"""Of a whole number: 1,233 digits."""
MOST_FACTORIAL: Final = 400

_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "^": "**"})
_CONSTANTS: Final = {"pi": math.pi, "e": math.e, "tau": math.tau}


class Calculator:
    """Evaluate an expression."""

    tool = described(
        "calculator",
        "Evaluate an arithmetic expression.",
        expression={"type": "string", "description": "For example 2 * (3 + 4)."},
    )
    traits = Traits()

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return the value."""
        return written(evaluate(arguments["expression"]))


def evaluate(expression: str) -> Number:
    """
    Return the value of an expression.

    Raises
    ------
    InputError
        If it is none, or its value is too large or not defined.

    Examples
    --------
    >>> evaluate("2 * (3 + 4)"), evaluate("2^10"), evaluate("sqrt(2) ** 2 // 1")
    (14, 1024, 2.0)
    """
    if len(expression) > MOST_CHARACTERS:
        raise InputError(
            f"The expression has {len(expression)} characters; at most {MOST_CHARACTERS} can be "
            "calculated at once."
        )
    try:
        tree = ast.parse(expression.translate(_SIGNS).strip(), mode="eval")
        return _checked(_value(tree.body))
    except (SyntaxError, MemoryError, RecursionError):
        raise _unreadable(expression) from None
    except ZeroDivisionError:
        raise InputError(f"`{cut(expression)}` divides by zero.") from None
    except (ValueError, OverflowError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"`{cut(expression)}` has no value: {error}.") from None


def written(value: Number) -> str:
    """
    Return a number as people write it.

    >>> written(0.1 + 0.2), written(6.0), written(7), written(1e30)
    ('0.3', '6', '7', '1e+30')
    """
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _checked(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _checked(_OPERATORS[type(sign)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _checked(_FUNCTIONS[name](*map(_value, args)))
        case _:
            raise _unreadable(ast.unparse(node))


def _checked(number: Number) -> Number:
    """Return a real number that is not too large."""
    if isinstance(number, complex):
        raise InputError("The value is no real number.")
    if isinstance(number, int):
        _check_bits(number.bit_length())
    elif not math.isfinite(number):
        raise InputError("The value is not finite.")
    return number


def _check_bits(n_bits: float) -> None:
    if n_bits > MOST_BITS:
        raise InputError(f"A number has more than {MOST_BITS} bits, which is too large.")


def _times(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length() - 1)
    return left * right


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1:
        _check_bits((abs(base).bit_length() - 1) * abs(exponent))
    value: Number = base**exponent
    return value


def _factorial(n: Number) -> int:
    if n != int(n) or not 0 <= n <= MOST_FACTORIAL:
        raise InputError(f"`factorial` takes a whole number from 0 to {MOST_FACTORIAL}.")
    return math.factorial(int(n))


def _unreadable(expression: str) -> InputError:
    return InputError(
        f"`{cut(expression)}` cannot be calculated; write numbers, + - * / // % **, parentheses, "
        f"{', '.join(_CONSTANTS)} and {', '.join(_FUNCTIONS)}."
    )


_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "round": round,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "floor": math.floor,
    "ceil": math.ceil,
    "factorial": _factorial,
}
