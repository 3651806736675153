"""
Read the code of a tool without running it: what it is called with, and whether it is one.

The sandbox is the wall. What is refused here is refused so that people are told in time.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from lab.errors import InputError, nearest

MODULES: Final = frozenset(
    [
        "__future__",
        "array",
        "base64",
        "binascii",
        "bisect",
        "calendar",
        "cmath",
        "codecs",
        "collections",
        "colorsys",
        "copy",
        "csv",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "graphlib",
        "hashlib",
        "heapq",
        "hmac",
        "html",
        "io",
        "itertools",
        "json",
        "math",
        "numbers",
        "operator",
        "random",
        "re",
        "secrets",
        "statistics",
        "string",
        "struct",
        "textwrap",
        "time",
        "typing",
        "unicodedata",
        "urllib.parse",
        "uuid",
        "zlib",
        "zoneinfo",
    ]
)
"""What the code of a tool may import."""

REFUSED: Final = frozenset(
    [
        "__import__",
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "exit",
        "globals",
        "help",
        "input",
        "locals",
        "memoryview",
        "quit",
        "setattr",
        "vars",
    ]
)
"""Names that code of a tool has no use for."""

MAY_STAND: Final = (
    *(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign),
    *(ast.FunctionDef, ast.ClassDef),
)
SIMPLE: Final = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array"},
    "dict": {"type": "object"},
    "None": {"type": "null"},
    "Any": {},
}
"""Schemas of annotations."""


@dataclass(frozen=True)
class ToolCode:
    """
    What the code of a tool tells of it.

    Attributes
    ----------
    description : str
        The function's docstring; empty where it has none.
    parameters : dict
        JSON Schema of its arguments, by their annotations.
    """

    description: str
    parameters: dict[str, Any]


def read_code(code: str, name: str) -> ToolCode:
    r"""
    Return what the code of a tool tells of it.

    Raises
    ------
    InputError
        If it is no Python, has no function of that name, or does what no tool needs.

    Examples
    --------
    >>> read_code("def double(n: int = 1):\n    return 2 * n", "double").parameters["properties"]
    {'n': {'type': 'integer', 'default': 1}}
    """
    tree = _parsed(code)
    for statement in tree.body:
        _check_top(statement)
    for node in ast.walk(tree):
        _check(node)
    function = _function(tree, name)
    return ToolCode(ast.get_docstring(function) or "", _parameters(function))


def _parsed(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except SyntaxError as error:
        raise InputError(f"The code is no Python: {error.msg} (line {error.lineno}).") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"The code is no Python: {error or 'it lies too deep'}.") from None


def _check_top(node: ast.stmt) -> None:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if not (isinstance(node, MAY_STAND) or is_text):
        _refuse(node, "beside functions there may be imports, constants and classes alone")


def _check(node: ast.AST) -> None:
    match node:
        case ast.Import():
            _check_modules(node, [alias.name for alias in node.names])
        case ast.ImportFrom():
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            known = node.module in MODULES or MODULES.issuperset(inner)
            if node.level or not known:
                _check_modules(node, [node.module or "."])
        case ast.Name(id=name):
            if name in REFUSED or _is_dunder(name):
                _refuse(node, f"a tool has no use for `{name}`")
        case ast.Attribute(attr=name):
            if _is_dunder(name):
                _refuse(node, f"a tool has no use for `.{name}`")


def _check_modules(node: ast.stmt, names: list[str]) -> None:
    for name in names:
        if name not in MODULES:
            near = nearest(name, sorted(MODULES))
            _refuse(
                node,
                f"`{name}` is not among the modules that tools may import.{near} "
                f"There are: {', '.join(sorted(MODULES - {'__future__'}))}",
            )


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(found) != 1:
        others = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        there = f"There are: {', '.join(others)}." if others else "There is none."
        raise InputError(
            f"The code needs one function `{name}`, called as the tool is; write "
            f"`def {name}(...):`. {there}"
        )
    (function,) = found
    given = function.args
    if given.posonlyargs or given.vararg or given.kwarg or function.decorator_list:
        _refuse(function, f"`{name}` must take arguments by name: no `/`, `*args` or decorators")
    return function


def _parameters(function: ast.FunctionDef) -> dict[str, Any]:
    properties, required = {}, []
    for argument, default in _arguments(function):
        if argument.annotation is None:
            _refuse(
                argument, f"`{argument.arg}` needs an annotation, such as `{argument.arg}: str`"
            )
        properties[argument.arg] = dict(_schema(argument.annotation))
        if default is None:
            required.append(argument.arg)
        else:
            properties[argument.arg] |= _default(default)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _arguments(function: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Yield each argument with its default."""
    given = function.args
    n_without = len(given.args) - len(given.defaults)
    yield from zip(given.args, [*[None] * n_without, *given.defaults], strict=True)
    yield from zip(given.kwonlyargs, given.kw_defaults, strict=True)


def _default(node: ast.expr) -> dict[str, Any]:
    """Return a default as JSON Schema has it; one that is no JSON is the function's own matter."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return {}
    is_json = isinstance(value, str | int | float | bool | list | dict) or value is None
    return {"default": value} if is_json else {}


def _schema(node: ast.expr) -> dict[str, Any]:
    match node:
        case ast.Name(id=name) if name in SIMPLE:
            return SIMPLE[name]
        case ast.Constant(value=None):
            return SIMPLE["None"]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return {"anyOf": [_schema(left), _schema(right)]}
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            return _generic(node, outer, inner)
    _refuse(node, f"`{ast.unparse(node)}` is no annotation that a tool's argument may have")


def _generic(node: ast.expr, outer: str, inner: ast.expr) -> dict[str, Any]:
    match outer, inner:
        case "list", _:
            return {"type": "array", "items": _schema(inner)}
        case "dict", ast.Tuple(elts=[ast.Name(id="str"), value]):
            return {"type": "object", "additionalProperties": _schema(value)}
        case "Optional", _:
            return {"anyOf": [_schema(inner), SIMPLE["None"]]}
        case "Literal", _:
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if all(isinstance(value, ast.Constant) for value in values):
                return {"enum": [ast.literal_eval(value) for value in values]}
    _refuse(node, f"`{ast.unparse(node)}` is no annotation that a tool's argument may have")


def _refuse(node: ast.stmt | ast.expr | ast.arg, why: str) -> NoReturn:
    raise InputError(f"The code is no tool: {why} (line {node.lineno}).")
