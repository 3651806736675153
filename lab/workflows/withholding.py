"""
What a turn that has read text of others does not do: the text may have asked for it.

Nothing is changed, and no page is read whose address nobody named: with an address that it makes up
itself, a model could carry out what it knows of the user.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.schemas.tool_call import ToolCall
from lab.workflows.tools import ERROR, LabTool

CHANGES: Final = (
    "`{name}` changes something, and this turn has read text from outside of the lab, which may "
    "have asked for it; let the user ask."
)
LEADS_AWAY: Final = (
    "this turn has read text from outside of the lab, and now `{name}` goes only to addresses that "
    "the user wrote or that a search or a page of this turn showed, letter by letter; this one is "
    "none. Let the user ask."
)
_BESIDE: Final = ".,;:!?*_()[]{}"
"""What stands around an address and is not of it."""
_SCHEME: Final = re.compile(r"^https?://", re.IGNORECASE)

Answered = Sequence[tuple[ToolCall, str]]
"""Calls of a turn with their results."""


def withheld(
    tools: Mapping[str, LabTool],
    before: Answered,
    calls: Sequence[ToolCall],
    shown: Sequence[ChatMessage],
    *,
    has_foreign: bool,
) -> dict[int, str]:
    """
    Return why calls do not run that text of others may have asked for, by their places.

    Parameters
    ----------
    tools : mapping
        The tools of the turn, by name.
    before : sequence of (ToolCall, str)
        What was called in the turn, with the results.
    calls : sequence of ToolCall
        What is called now.
    shown : sequence of ChatMessage
        What the model sees, with the user's messages.
    has_foreign : bool
        Whether text of others was shown beside what tools returned.
    """
    traits = {name: tool.traits for name, tool in tools.items()}
    read = {call.name for call, _ in before} & traits.keys()
    if not has_foreign and not any(traits[name].foreign for name in read):
        return {}
    said = [message.content or "" for message in shown if message.role is Role.user]
    said += [
        text
        for call, text in before
        if call.name in read and traits[call.name].leads and not text.startswith(ERROR)
    ]
    named = {address for text in said for address in addresses(text)}
    refused: dict[int, str] = {}
    for place, call in enumerate(calls):
        if call.name not in traits:
            continue
        place_of = traits[call.name].goes_to
        if traits[call.name].changes:
            refused[place] = CHANGES.format(name=call.name)
        elif place_of and _bare(str(call.arguments.get(place_of, ""))) not in named:
            refused[place] = LEADS_AWAY.format(name=call.name)
    return refused


def addresses(text: str) -> Iterator[str]:
    """
    Yield all that may be an address in a text, without the scheme.

    >>> {"a.org/x", "b.org/y_(z)"} <= {*addresses("See [x](https://a.org/x), <b.org/y_(z)>.")}
    True
    """
    for word in re.split(r"[\s<>\"'`|]+", text):
        yield _bare(word)
        yield _bare(word.strip(_BESIDE))
        for part in re.split(r"[()\[\]{}]+", word):
            yield _bare(part.strip(_BESIDE))


def _bare(address: str) -> str:
    return re.sub(_SCHEME, "", address.strip())
