"""Pictures of messages that come as the address of one."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from lab.errors import DocumentTooLargeError, InputError
from lab.messages import address_of_picture
from lab.schemas.chat_message import ChatMessage
from lab.schemas.message_image import MessageImage
from lab.web.fetching import Fetcher

KINDS: Final = ("image/*", "application/octet-stream", "binary/octet-stream")
"""What servers call pictures; the bytes are looked at afterwards, as those of others are."""

MOST: Final = 64
"""Addresses of one request."""

AT_ONCE: Final = 4


async def with_pictures(
    messages: Sequence[ChatMessage], fetcher: Fetcher, max_bytes: int
) -> list[ChatMessage]:
    """
    Return messages whose pictures are all there, each address fetched once.

    Parameters
    ----------
    messages : sequence of ChatMessage
        As they came.
    fetcher : Fetcher
        Fetches the pictures.
    max_bytes : int
        Bytes of all of them together.

    Raises
    ------
    InputError
        If there are too many addresses.
    DocumentTooLargeError
        If there are too many bytes.
    FetchError, MediaTypeError
        If one cannot be fetched, or is no picture.
    """
    found = (address_of_picture(image) for message in messages for image in message.images)
    addresses = list(dict.fromkeys(address for address in found if address is not None))
    if not addresses:
        return list(messages)
    if len(addresses) > MOST:
        raise InputError(
            f"`images`: {len(addresses)} addresses came, and {MOST} are fetched for a request; "
            "send some of the pictures themselves."
        )
    contents = await _fetch_all(addresses, fetcher, max_bytes)
    fetched = {address: MessageImage(data=_base64(content)) for address, content in contents}
    return [
        message.model_copy(
            update={"images": [fetched.get(address_of_picture(i) or "", i) for i in message.images]}
        )
        for message in messages
    ]


async def _fetch_all(
    addresses: Sequence[str], fetcher: Fetcher, max_bytes: int
) -> list[tuple[str, bytes]]:
    """Fetch a few at a time; the first that fails ends it for all."""
    free = asyncio.Semaphore(AT_ONCE)
    n_bytes = 0

    async def fetch(address: str) -> tuple[str, bytes]:
        nonlocal n_bytes
        async with free:
            content = (await fetcher.fetch(address, KINDS, max_bytes)).content
        n_bytes += len(content)
        if n_bytes > max_bytes:
            raise DocumentTooLargeError(
                f"`images`: the pictures have more than {max_bytes:,} bytes together, as many as a "
                "request may have (LAB_LIMITS_MAX_BODY_BYTES); send fewer or smaller ones."
            )
        return address, content

    tasks = [asyncio.create_task(fetch(address)) for address in addresses]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _base64(content: bytes) -> str:
    return b64encode(content).decode()
