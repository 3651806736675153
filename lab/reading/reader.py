"""Read a file in a child process, which ends soon whatever the file is."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from tempfile import TemporaryFile
from typing import IO, Any

from lab.errors import DocumentError, rebuild
from lab.reading.text import Limits, Text


async def read(file: IO[bytes], name: str, limits: Limits) -> Text:
    """
    Return the text of a file.

    Parameters
    ----------
    file : file object
        A real file, open for reading.
    name : str
        How it is called: the ending helps to tell what it is.
    limits : Limits
        How far reading may go.

    Raises
    ------
    MediaTypeError
        If it is of a kind that the lab does not read, or not what its name says.
    DocumentTooLargeError
        If it has too many pages or too long a text.
    DocumentError
        If it is damaged, encrypted or without text, or takes too long.
    """
    file.flush()
    with TemporaryFile() as answer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "utf8", "-m", "lab.reading"),
            *("--max-pages", str(limits.max_pages)),
            *("--max-characters", str(limits.max_characters)),
            *("--timeout", str(limits.timeout_s)),
            *("--", name),
            stdin=file.fileno(),
            stdout=answer,
            stderr=asyncio.subprocess.DEVNULL,
            # The packages of this process, and none of its variables: they hold secrets.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        await _ended(process, limits.timeout_s)
        answer.seek(0)
        said = _said(answer.read())
    if "code" in said:
        raise rebuild(said["code"], f"`{name}` cannot be added. {said['message']}")
    return Text(said["media_type"], said["text"], tuple(said["pages"]))


async def _ended(process: Process, timeout_s: float) -> None:
    """Wait for the child; end it when it takes too long, or nobody waits any more."""
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
    except TimeoutError:
        raise DocumentError(
            f"Reading it took longer than {timeout_s:g} s (limits.document_timeout_s); "
            "send a simpler file, or ask the operator for more."
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _said(answer: bytes) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise DocumentError(
            "Reading it broke off: it needs too much memory or time, or breaks what reads it."
        ) from None
    return said
