"""The pictures of a chat's page: those that wait to be sent, and those that were."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lab.errors import DocumentTooLargeError
from lab.messages import picture_type

MOST_BYTES: Final = 7_000_000
"""Of the pictures of a message: more fits into no message of a page to its kernel."""


@dataclass(frozen=True)
class Attached:
    """A picture that a person chose; `key` is what the page calls it."""

    key: str
    name: str
    content: bytes


class Pictures:
    """Keeps what the page no longer has when it is drawn anew."""

    def __init__(self) -> None:
        self._waiting: dict[str, Attached] = {}
        self._sent: dict[str, Attached] = {}

    @property
    def waiting(self) -> list[dict[str, str]]:
        """`key` and `name` of those that go with the next message."""
        return [{"key": one.key, "name": one.name} for one in self._waiting.values()]

    def attach(self, picture: Attached, n_bytes: int) -> None:
        """
        Keep a picture for the next message.

        Parameters
        ----------
        picture : Attached
            Without content where it is too large to come here.
        n_bytes : int
            Its size.

        Raises
        ------
        DocumentTooLargeError
            If there are too many bytes.
        InputError
            If it is no picture.
        """
        n_there = sum(len(one.content) for one in self._waiting.values())
        if n_there + n_bytes > MOST_BYTES:
            besides = f" with {n_there:,} of other pictures" if n_there else ""
            raise DocumentTooLargeError(
                f"`{picture.name}` has {n_bytes:,} bytes{besides}, and a message of this page may "
                f"bring {MOST_BYTES:,}; choose a smaller picture."
            )
        picture_type(picture.content, picture.name)
        self._waiting[picture.key] = picture

    def detach(self, key: str) -> None:
        """Let a picture go that was not sent."""
        self._waiting.pop(key, None)

    def take(self) -> list[Attached]:
        """Return those that go with the message that is sent now."""
        taken, self._waiting = self._waiting, {}
        self._sent |= taken
        return list(taken.values())

    def forget(self) -> None:
        """Let those go that messages of the page had."""
        self._sent.clear()

    def find(self, key: str) -> bytes | None:
        """Return a picture that is kept here; None for one that the lab keeps."""
        here: Mapping[str, Attached] = self._waiting | self._sent
        return here[key].content if key in here else None
