"""What reading a page of the web gives."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from lab.schemas.web_failure import WebFailure
from lab.schemas.web_failure_reason import WebFailureReason

Headers = tuple[tuple[str, str], ...]
"""Names and values, in the order in which the server sent them."""


@dataclass(frozen=True)
class Content:
    """
    What a page says.

    Attributes
    ----------
    media_type : str
        What it was read as.
    text : str
        Its main text.
    title, author, published_on, language : str, optional
        As it says itself.
    """

    media_type: str
    text: str
    title: str | None = None
    author: str | None = None
    published_on: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class ReadPage:
    """
    A page as it was read.

    Attributes
    ----------
    requested_url : str
        The address that was asked for.
    url : str
        The one that answered after all redirects.
    status : int
        HTTP status.
    headers : sequence of (str, str)
        Of the answer.
    body : bytes
        Of the answer, as it is when it is unpacked.
    content : Content
        What it says.
    """

    requested_url: str
    url: str
    status: int
    headers: Headers
    body: bytes
    content: Content

    @property
    def sha256(self) -> str:
        """Hash of the body, in hex."""
        return sha256(self.body).hexdigest()


Outcome = ReadPage | WebFailure
"""What came of one address."""


class PageSource(Protocol):
    """Where pages come from: the web, or snapshots of it."""

    def read(
        self, urls: Sequence[str], *, max_pages: int, max_depth: int
    ) -> AsyncGenerator[Outcome, None]:
        """
        Yield what comes of each address as soon as it is known; closing the generator ends it.

        Each of `urls` has an outcome, and so has each link that was followed.

        Parameters
        ----------
        urls : sequence of str
            Where to begin.
        max_pages : int
            Most pages to read, links included.
        max_depth : int
            How many links away from `urls` to go.
        """
        ...


def failed(url: str, reason: WebFailureReason, message: str) -> WebFailure:
    """Return the outcome of an address that gave no page."""
    return WebFailure(url=url, reason=reason, message=message)
