"""From the bytes of a page to its main text, with title, author, day and language."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from signal import ITIMER_REAL, SIGALRM, setitimer, signal
from typing import Final

from lxml.html import HtmlElement, document_fromstring
from trafilatura import bare_extraction, html2txt, load_html

from lab.schemas.web_failure_reason import WebFailureReason
from lab.texts import clean
from lab.web.decoding import HTML, PDF, decoded, media_type_of
from lab.web.links import links_of
from lab.web.pages import Content

AGAIN_S: Final = 0.1
"""After so long it is broken off anew: what is raised while Python frees memory is dropped."""


class UnreadableError(Exception):
    """A page that says nothing; `reason` and the message say why."""

    def __init__(self, reason: WebFailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _TooLongError(BaseException):
    """Reading takes too long; not an `Exception`, so that no library takes it for a fault."""


@dataclass(frozen=True)
class Found:
    """What a page says, and where its links lead."""

    content: Content
    links: list[str] = field(default_factory=list)


def read_content(
    body: bytes, content_type: str, url: str, *, timeout_s: float, links: bool = False
) -> Found:
    """
    Return what a page says; called in the main thread of a process, for the sake of its timer.

    Parameters
    ----------
    body : bytes
        Of the answer.
    content_type : str
        As the server declares it; empty where it does not.
    url : str
        Its address.
    timeout_s : float
        Seconds that reading it may take.
    links : bool
        Whether to look for links as well.

    Raises
    ------
    UnreadableError
        If it is damaged, says nothing, or takes too long.
    """
    try:
        with _at_most(timeout_s):
            return _read(body, content_type, url, links=links)
    except UnreadableError:
        raise
    except _TooLongError:
        why = f"Making out its text took longer than {timeout_s:g} s (web.timeout_s)."
    except MemoryError:
        why = "Making out its text needs too much memory."
    except RecursionError:
        why = "Its parts lie too deep in each other."
    except Exception as error:  # whatever a library makes of a page that was made to break it
        why = f"It is damaged ({type(error).__name__}: {error})."
    raise UnreadableError(WebFailureReason.unreadable, why)


def _read(body: bytes, content_type: str, url: str, *, links: bool) -> Found:
    media_type = media_type_of(body, content_type)
    if media_type == PDF:
        return Found(_of_pdf(body))
    page = decoded(body, content_type)
    if media_type in HTML:
        return _of_html(page, url, media_type, links=links)
    return Found(Content(media_type, _required(page)))


def _of_html(page: str, url: str, media_type: str, *, links: bool) -> Found:
    tree = load_html(page)
    if tree is None:
        text = document_fromstring(page).text_content() if page.strip() else ""
        return Found(Content(media_type, _required(text)))
    found = list(links_of(tree, url)) if links else []
    language = _language(tree)
    document = bare_extraction(tree, url=url, include_comments=False, with_metadata=True)
    if document is None or isinstance(document, dict) or not document.text:
        return Found(Content(media_type, _required(html2txt(page)), language=language), found)
    content = Content(
        media_type,
        _required(document.text),
        title=_said(document.title),
        author=_said(document.author),
        published_on=_said(document.date),
        language=language,
    )
    return Found(content, found)


def _of_pdf(body: bytes) -> Content:
    from pypdf import PdfReader  # noqa: PLC0415 - for the pages that need it

    reader = PdfReader(BytesIO(body))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableError(WebFailureReason.unreadable, "It is a PDF with a password.")
    text = _required("\n\n".join(page.extract_text() for page in reader.pages))
    language = _said(str(reader.root_object.get("/Lang", "")))
    if (about := reader.metadata) is None:
        return Content(PDF, text, language=language)
    made = about.creation_date
    return Content(
        PDF,
        text,
        title=_said(about.title),
        author=_said(about.author),
        published_on=made.date().isoformat() if made else None,
        language=language,
    )


def _language(tree: HtmlElement) -> str | None:
    """Return the language that a page declares of itself."""
    declared = tree.get("lang") or next(iter(tree.xpath("/html/@xml:lang")), "")
    return _said(declared.partition("-")[0].lower())


def _required(text: str) -> str:
    if not (said := clean(text).strip()):
        raise UnreadableError(WebFailureReason.empty, "It holds no text.")
    return said


def _said(text: str | None) -> str | None:
    """Return a line as it can be stored; None for an empty one."""
    return " ".join(clean(text or "").split()) or None


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Break off what takes longer; code in C is broken off when it comes back to Python."""

    def stop(*_: object) -> None:
        raise _TooLongError

    before = signal(SIGALRM, stop)
    setitimer(ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        setitimer(ITIMER_REAL, 0)
        signal(SIGALRM, before)
