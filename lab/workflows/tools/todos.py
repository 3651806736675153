"""What is to be done."""

from collections.abc import Sequence
from typing import Any, Final

from lab.db import Stores
from lab.errors import InputError
from lab.schemas.todo import Todo
from lab.schemas.todo_status import TodoStatus
from lab.schemas.tool import Tool
from lab.workflows.tools.tool import Arguments, ToolContext, Traits

SHOWN: Final = 50
"""Todos that a list shows, the newest."""


class Todos:
    """Write todos down, list them, and tick them off."""

    tool = Tool(
        name="todos",
        description="Add, list, finish or drop todos.",
        parameters={
            "type": "object",
            "properties": {
                "action": {"enum": ["add", "list", "finish", "drop"]},
                "text": {
                    "type": "string",
                    "maxLength": 2000,
                    "description": "What is to be done; to finish or drop, which todo.",
                },
            },
            "required": ["action"],
        },
    )
    traits = Traits(personal=True, changes=True)

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return the todos as they stand afterwards."""
        action, text = arguments["action"], arguments.get("text", "").strip()
        if action != "list" and not text:
            raise InputError(f"`{action}` needs the `text` of the todo.")
        async with context.stores() as stores:
            await self._change(stores, action, text, context)
            return listed(await stores.todos.list(SHOWN))

    async def _change(self, stores: Stores, action: str, text: str, context: ToolContext) -> None:
        if action == "add":
            await stores.todos.create(text, context.conversation_id)
        elif action != "list":
            todo = meant(await stores.todos.list(SHOWN), text)
            if action == "drop":
                await stores.todos.delete(todo.id)
            else:
                changes: dict[str, Any] = {"status": TodoStatus.completed}
                await stores.todos.update(todo.id, todo.version, **changes)


def meant(todos: Sequence[Todo], text: str) -> Todo:
    """
    Return the todo that a text means: the whole of it, or a part that no other has.

    Raises
    ------
    InputError
        If that is none, or several.
    """
    wanted = text.casefold()
    exact = [todo for todo in todos if todo.text.casefold() == wanted]
    found = exact[:1] or [todo for todo in todos if wanted in todo.text.casefold()]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} todos say" if found else "No todo says"
    raise InputError(f"{problem} `{text}`; the todos are:\n{listed(todos)}")


def listed(todos: Sequence[Todo]) -> str:
    """Return todos a line each, the oldest first."""
    marks = {TodoStatus.completed: "x", TodoStatus.in_progress: "~", TodoStatus.pending: " "}
    lines = [f"[{marks[todo.status]}] {todo.text}" for todo in reversed(todos)]
    return "\n".join(lines) or "There are no todos."
