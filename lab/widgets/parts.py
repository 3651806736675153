"""What a message looks like."""

import json
from collections.abc import Iterable
from html import escape

from lab.messages import Part
from lab.schemas.audio_part import AudioPart
from lab.schemas.file_part import FilePart
from lab.schemas.image_part import ImagePart
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.schemas.tool_result_part import ToolResultPart
from lab.widgets.markdown import to_html


def parts_html(parts: Iterable[Part]) -> str:
    """Return a message as HTML: its text open, what went on behind it folded; no pictures."""
    return "".join(map(_part_html, parts))


def folded(kind: str, summary: str, body: str) -> str:
    """Return a part that opens on a click; `summary` and `body` are HTML."""
    return (
        f'<details class="lab-folded lab-{kind}"><summary>{summary}</summary>'
        f'<div class="lab-folded-body">{body}</div></details>'
    )


def guard_html(guard: str) -> str:
    """Return the note below an answer that a guard stopped."""
    return (
        f"<p><em>Stopped: the model ran in circles (guard <code>{escape(guard)}</code>).</em></p>"
    )


def waiting_html(calls: Iterable[ToolCall]) -> str:
    """Return what calls of tools wait for, with all that they would be called with."""
    return "".join(
        f"<p>May <code>{escape(call.name)}</code> be called with this?</p>"
        f"<pre>{escape(json.dumps(call.arguments, ensure_ascii=False, indent=2))}</pre>"
        for call in calls
    )


def _part_html(part: Part) -> str:
    match part:
        case TextPart():
            return to_html(part.text)
        case ThinkingPart():
            return folded("thinking", "Thinking", to_html(part.text))
        case ImagePart():
            return ""  # the page draws it
        case AudioPart() | FilePart():
            return f"<p>Attached: {part.type}</p>"
        case ToolCallPart():
            call = part.tool_call
            arguments = json.dumps(call.arguments, ensure_ascii=False, indent=2)
            return folded(
                "tool",
                f"Called <code>{escape(call.name)}</code>",
                f"<pre>{escape(arguments)}</pre>",
            )
        case ToolResultPart():
            return folded("tool", "Result of a tool", f"<pre>{escape(part.text)}</pre>")
