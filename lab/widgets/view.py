"""The chat's page: drawn by `chat.js` from the state that is kept here."""

from pathlib import Path
from typing import Any

from anywidget import AnyWidget
from traitlets import Bool, Dict, Int, List, Unicode

from lab.widgets.pictures import MOST_BYTES
from lab.widgets.scripts import script

FOLDER = Path(__file__).parent


class ChatView(AnyWidget):
    """
    What the browser shows; it only ever flows from here to the browser.

    What a person does comes back as a message `{"action": name, ...}`. Every text in here but
    `html` is put into the page as text, so only `html` has to be safe.
    """

    _esm = script("chat.js")
    _css = FOLDER / "chat.css"

    ready = Bool(False, help="True when the first load is done.").tag(sync=True)
    person = Unicode(help="Who is logged in.").tag(sync=True)
    profiles: List[dict[str, Any]] = List(
        help="`id`, `model`, `description`, `is_demo` and `sees` of each profile."
    ).tag(sync=True)
    profile = Unicode(help="Profile that answers.").tag(sync=True)
    conversations: List[dict[str, str]] = List(
        help="`id`, `title`, `updated_at`; newest first."
    ).tag(sync=True)
    conversation = Unicode(help="Id of the open one; empty for a new one.").tag(sync=True)
    messages: List[dict[str, Any]] = List(
        help="`id`, `role`, `html`, `run_id`, and keys of `pictures` of the open one."
    ).tag(sync=True)
    attached: List[dict[str, str]] = List(
        help="`key` and `name` of pictures that go with the next message."
    ).tag(sync=True)
    most_bytes = Int(MOST_BYTES, help="Of pictures in a message.").tag(sync=True)
    has_earlier = Bool(False, help="True when older messages are not shown.").tag(sync=True)
    busy = Bool(False, help="True while the open conversation is answered.").tag(sync=True)
    live = Unicode(help="HTML of the answer so far.").tag(sync=True)
    question = Dict(help="`run_id` and `html` of calls that wait to be allowed.").tag(sync=True)
    problem = Dict(help="`text`, and `retry` when a click may mend it.").tag(sync=True)

    def show_receipt(self, run_id: str, html: str) -> None:
        """Fill the receipt of a run that a person opened."""
        self.send({"type": "receipt", "run_id": run_id, "html": html})

    def show_picture(self, key: str, content: bytes) -> None:
        """Fill in a picture that the page asked for."""
        self.send({"type": "picture", "key": key}, [content])

    def show_problem(self, text: str, *, retry: bool = False) -> None:
        """Say inline what went wrong."""
        self.problem = {"text": text, "retry": retry}
