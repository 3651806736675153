"""Between the child that reads pages and its parent: objects of JSON, one a line."""

import json
from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from lab.schemas.pages_config import PagesConfig
from lab.schemas.web_config import WebConfig
from lab.schemas.web_failure import WebFailure
from lab.web.pages import Content, Outcome, ReadPage

END: Final = b'{"end": true}\n'
"""The last line of a child that has nothing left to read."""
LINE_FACTOR: Final = 8
"""Bytes of a line for each byte of a body: it comes in base64, and its text with it."""
LINE_BYTES: Final = 2**20
"""Bytes of a line beside that."""


class Job(NamedTuple):
    """What the child is to read, and how far it may go."""

    urls: list[str]
    max_pages: int
    max_depth: int
    web: WebConfig
    pages: PagesConfig

    def line(self) -> bytes:
        """Return it as a line."""
        configs = {"web": self.web.model_dump(mode="json"), "pages": self.pages.model_dump()}
        return json.dumps({**self._asdict(), **configs}).encode() + b"\n"


def job_of(line: bytes) -> Job:
    """Return the job of a line."""
    fields = json.loads(line)
    fields["web"] = WebConfig.model_validate(fields["web"])
    fields["pages"] = PagesConfig.model_validate(fields["pages"])
    return Job(**fields)


def line_of(outcome: Outcome) -> bytes:
    """Return an outcome as a line."""
    if isinstance(outcome, WebFailure):
        said: dict[str, Any] = {"failure": outcome.model_dump(mode="json")}
    else:
        said = {"page": {**asdict(outcome), "body": b64encode(outcome.body).decode()}}
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"


def outcome_of(line: bytes) -> Outcome:
    """Return the outcome of a line."""
    said = json.loads(line)
    if "failure" in said:
        return WebFailure.model_validate(said["failure"])
    page = said["page"]
    page["body"] = b64decode(page["body"])
    page["headers"] = tuple((name, value) for name, value in page["headers"])
    page["content"] = Content(**page["content"])
    return ReadPage(**page)
