"""What a body must be before anything takes it for text."""

import json
import re

from fastapi import Request

from lab.errors import InputError

HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""Where half of a UTF-16 pair may stand, escaped or raw; whole pairs match too."""


async def refuse_half_characters(request: Request) -> None:
    """
    Refuse JSON with a lone surrogate: it is no character, and no tokenizer or database takes it.

    Raises
    ------
    InputError
        If the body holds one.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        return  # no JSON, and files are not held in memory
    body = await request.body()
    if HALF_PAIR.search(body) and not _encodable(body):
        raise InputError(
            "The body holds half of a surrogate pair (such as `\\ud800` alone), which is no "
            "character; send whole characters."
        )


def _encodable(body: bytes) -> bool:
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    except ValueError:
        return True  # no JSON at all, which others say better
    return True
