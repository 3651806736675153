"""
Read tool calls in the forms in which models write them.

    {"name": "f", "arguments": {"x": 1}}          Hermes and Qwen; `parameters` in Llama 3
    [{"name": "f", "arguments": {"x": 1}}, ...]   Mistral, after [TOOL_CALLS]
    f[ARGS]{"x": 1}                               later Mistral, after [TOOL_CALLS]
    [f(x=1), g(y="a")]                            pythonic lists, Llama 3.2 and 4
"""

import ast
import json
import re
from collections.abc import Collection
from typing import Any
from uuid import uuid4

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_delta import ToolCallDelta
from lab.texts import storable, storable_json

HEAD = re.compile(
    r"""[\s\[,;]*(?:
        \{\s*(?:"type"\s*:\s*"function"\s*,\s*)?
          "name"\s*:\s*"(?P<json>[^"\\]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*
      | (?P<plain>[\w.-]+)(?:\[CALL_ID\][^\[]*)?\[ARGS\]\s*
    )(?=\{)""",
    re.VERBOSE,
)
"""What stands before the arguments of a call."""

TAIL = re.compile(r'\s*(?:,\s*"\w+"\s*:\s*(?:"[^"\\]*"|\d+)\s*)*\}')
"""What ends a call after its arguments, such as an id."""

REST = re.compile(r"[\s\];]*")
BEGINNINGS = ('{"name":"', '[{"name":"', '{"type":"function"', '[{"type":"function"')
CONSTANTS = {"true": True, "false": False, "null": None, "None": None}


class CallReader:
    """
    Read the calls of one part of an answer while it is written.

    Parameters
    ----------
    first : int
        Place of its first call among those of the answer.
    names : collection of str
        Tools that may be called; empty for any.
    """

    def __init__(self, first: int = 0, names: Collection[str] = ()) -> None:
        self._first = first
        self._names = names
        self._text = ""
        self._place = 0  # what is before it was read
        self._begun: tuple[str, str, int] | None = None  # id, name and start of the arguments
        self._scan = _ObjectEnd()
        self._tail_due = False
        self.n_calls = 0
        self.text = ""
        """All that was taken."""

    def push(self, text: str) -> list[ChatDelta]:
        """Take the next characters; return pieces of calls, and calls that are whole."""
        self._text += text
        self.text = self._text
        deltas: list[ChatDelta] = []
        while self._arguments(deltas) if self._begun else self._head(deltas):
            pass
        return deltas

    def finish(self) -> list[ChatDelta] | None:
        """Return the calls that are left at the end; None where there is none at all."""
        if self.n_calls:
            rest = "" if self._begun else self._text[self._place :]
            closers = REST.match(rest)
            left = rest[closers.end() :] if closers and not self._tail_due else ""
            return [ChatDelta(content=left)] if left else []
        calls = None if self._begun else parse_calls(self._text)
        if not calls or not all(self._knows(call.name) for call in calls):
            return None
        deltas: list[ChatDelta] = []
        for call in calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            self._tell(deltas, ToolCallDelta(**self._heading(call), arguments=arguments))
            self._whole(deltas, call)
        return deltas

    def _head(self, deltas: list[ChatDelta]) -> bool:
        """Read what stands before the arguments of the next call."""
        if self._tail_due:
            tail = TAIL.match(self._text, self._place)
            if tail is None:
                return False
            self._place, self._tail_due = tail.end(), False
        head = HEAD.match(self._text, self._place)
        if head is None or not self._knows(head["json"] or head["plain"]):
            return False
        name = head["json"] or head["plain"]
        call_id = f"call_{uuid4().hex}"
        self._begun = (call_id, name, head.end())
        self._tail_due = head["json"] is not None
        self._scan, self._place = _ObjectEnd(), head.end()
        index = self._first + self.n_calls
        self._tell(deltas, ToolCallDelta(index=index, id=call_id, name=name))
        return True

    def _arguments(self, deltas: list[ChatDelta]) -> bool:
        """Read on in the arguments of the call that began."""
        if self._begun is None:
            return False
        length = self._scan.take(self._text[self._place :])
        piece = self._text[self._place : self._place + length]
        self._place += length
        if piece:
            index = self._first + self.n_calls
            self._tell(deltas, ToolCallDelta(index=index, arguments=piece))
        if not self._scan.ended:
            return False
        call_id, name, start = self._begun
        try:
            arguments = storable_json(json.loads(self._text[start : self._place]))
        except (ValueError, RecursionError):
            return False  # it stays begun, so that the part is no call
        self._begun = None
        self._whole(deltas, ToolCall(id=call_id, name=name, arguments=arguments))
        return True

    def _heading(self, call: ToolCall) -> dict[str, Any]:
        return {"index": self._first + self.n_calls, "id": call.id, "name": call.name}

    def _knows(self, name: str) -> bool:
        return not self._names or name in self._names

    def _tell(self, deltas: list[ChatDelta], piece: ToolCallDelta) -> None:
        deltas.append(ChatDelta(tool_call_delta=piece))

    def _whole(self, deltas: list[ChatDelta], call: ToolCall) -> None:
        self.n_calls += 1
        deltas.append(ChatDelta(tool_call=call))


class _ObjectEnd:
    """Find where an object of JSON ends, piece by piece."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False
        self.ended = False

    def take(self, text: str) -> int:
        """Return how many of the next characters belong to the object."""
        for place, character in enumerate(text):
            if self.ended:
                return place
            self._take(character)
        return len(text)

    def _take(self, character: str) -> None:
        if self._in_string:
            self._in_string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.ended = self._depth == 0


def may_begin(text: str, names: Collection[str]) -> bool | None:
    """
    Return whether an answer that begins so is a call of these tools; None = it may become one.

    >>> may_begin('{"na', ["f"]), may_begin('{"city"', ["f"]), may_begin("[f(x", ["f"])
    (None, False, True)
    """
    squeezed = "".join(text.split())
    beginnings = [*BEGINNINGS, *(f"[{name}(" for name in names)]
    if any(squeezed.startswith(beginning) for beginning in beginnings):
        return True
    return None if any(beginning.startswith(squeezed) for beginning in beginnings) else False


def parse_calls(text: str) -> list[ToolCall] | None:
    """
    Return the tool calls that `text` is, in any of the forms; None where it is something else.

    >>> [call.name for call in parse_calls('{"name": "now", "arguments": {}}')]
    ['now']
    >>> [call.arguments for call in parse_calls('[f(x=1), g(y=["a"])]')]
    [{'x': 1}, {'y': ['a']}]
    >>> parse_calls('{"name": "current_time"') is None
    True
    """
    calls = _json_calls(text) or _pythonic_calls(text)
    if not calls or any(call is None for call in calls):
        return None
    return [
        ToolCall(id=f"call_{uuid4().hex}", name=storable(call[0]), arguments=storable_json(call[1]))
        for call in calls
        if call is not None
    ]


Call = tuple[str, dict[str, Any]]


def _json_calls(text: str) -> list[Call | None]:
    """Return the calls of an object, of a list, or of objects one after the other."""
    decoder, place, found = json.JSONDecoder(), 0, list[Any]()
    text = text.strip()
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return []
        found += value if isinstance(value, list) else [value]
        between = re.compile(r"[\s;]*").match(text, place)
        place = between.end() if between else place
    return [_json_call(value) for value in found]


def _json_call(value: Any) -> Call | None:
    try:
        name, arguments = value["name"], value.get("arguments", value.get("parameters"))
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    valid = isinstance(name, str) and name and isinstance(arguments, dict)
    return (name, arguments) if valid else None


def _pythonic_calls(text: str) -> list[Call | None]:
    """Return the calls of a list of Python calls with literal keyword arguments."""
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [_pythonic_call(call) for call in body.elts] if isinstance(body, ast.List) else []


def _pythonic_call(node: ast.expr) -> Call | None:
    if not isinstance(node, ast.Call) or node.args:
        return None
    arguments = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            return None
        try:
            arguments[keyword.arg] = _literal(keyword.value)
        except (ValueError, TypeError, RecursionError):
            return None
    return (ast.unparse(node.func), arguments)


def _literal(node: ast.expr) -> Any:
    """Return a literal; models write JSON's `true`, `false` and `null` too."""
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_literal(k)): _literal(v) for k, v in pairs if k is not None}
    value = ast.literal_eval(node)
    json.dumps(value)  # a set or bytes is no argument: TypeError
    return value
