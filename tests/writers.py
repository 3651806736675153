"""
Processes that write into one conversation, each with a server of its own or as a client of one.

`python -m tests.writers` takes a job a line, as JSON, and answers with the id of the process that
does it. Each is forked from this one, which has imported all there is to import: so many start
soon, and one that is killed takes nothing with it. What was acknowledged to a writer stands in its
file, a line of JSON each, written after the lab said so.
"""

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import lab.pipelines.load  # noqa: F401 - imported once, before the fork
from lab.client import Lab, connect
from lab.errors import NotFoundError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from tests.api_server import running_api

SAY, TURN, CORRECT, FORGET, DOCUMENT = "say", "turn", "correct", "forget", "document"
FORGETTING = "forgetting"
"""What is told before: a writer that is killed may or may not have forgotten it."""
SHARED: Final = "\n\n".join(f"Passage {n} of what all of them send." for n in range(20))
"""A document that every writer sends."""


@dataclass(frozen=True)
class Job:
    """
    What a writer does.

    Attributes
    ----------
    file : str
        Where it writes what was acknowledged.
    name : str
        Its own: no two writers say the same.
    conversation, token : str
        Where it writes, and as who.
    deeds : list of str
        What it does, one after the other; `+` says two things in one request.
    url : str
        The server to ask; without one it starts one with `variables`.
    """

    file: str
    name: str
    conversation: str
    token: str
    deeds: list[str]
    url: str = ""
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What was acknowledged to a writer: a deed, on what, and the text that it left there."""

    deed: str
    id: str
    text: str


class Writers:
    """The process that starts writers; made by `writers`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def start(self, job: Job) -> int:
        """Start a writer; return the id of its process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        return int(await self._process.stdout.readline())


@asynccontextmanager
async def writers() -> AsyncIterator[Writers]:
    """Yield what starts writers; they end with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.writers"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Writers(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def ended(pid: int) -> None:
    """Wait until a process is gone."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await asyncio.sleep(0.05)


def acknowledged(job: Job) -> list[Done]:
    """Return what a writer was told is done; a line that a kill cut off was not told."""
    file = Path(job.file)
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [Done(**json.loads(line)) for line in lines if line.endswith("\n")]


async def write(job: Job) -> None:
    """Do a job."""
    if job.url:
        await _do(job, job.url)
        return
    url = job.variables["LAB_DATABASE_URL"]
    others = {k: v for k, v in job.variables.items() if k != "LAB_DATABASE_URL"}
    async with running_api(url, **others) as api:
        await _do(job, api.url)


async def _do(job: Job, url: str) -> None:
    mine: list[Memory] = []
    chosen = random.Random(job.name)
    with Path(job.file).open("a", buffering=1) as file:

        def tell(deed: str, id: UUID, text: str) -> None:
            file.write(json.dumps(asdict(Done(deed, str(id), text))) + "\n")

        tell("start", UUID(job.conversation), "")
        async with connect(url, job.token) as lab:
            for n, deed in enumerate(job.deeds):
                await _deed(lab, job, f"{job.name} says {n}", deed, tell, mine, chosen)
        tell("end", UUID(job.conversation), "")


async def _deed(
    lab: Lab, job: Job, text: str, deed: str, tell: Any, mine: list[Memory], chosen: random.Random
) -> None:
    chat = UUID(job.conversation)
    if deed.startswith(SAY):
        texts = [text, f"{text} more"] if deed.endswith("+") else [text]
        messages = [ChatMessage(role=Role.user, content=each) for each in texts]
        stored = await lab.conversations.add(chat, messages)
        for message, each in zip(stored, texts, strict=True):
            tell(SAY, message.id, each)
        ids = {message.id for message in stored}
        mine += [m for m in await lab.memories.list(200) if m.message_id in ids]
    elif deed == TURN:
        answer = await lab.chat(text, conversation=chat, max_new_tokens=4, seed=1, temperature=0)
        tell(TURN, answer.run_id, text)
    elif deed == DOCUMENT:
        own = await lab.documents.add(text.encode(), f"{job.name}.txt")
        tell(DOCUMENT, own.document.id, text)
        all_send = await lab.documents.add(SHARED.encode(), f"{job.name}.txt")
        tell(DOCUMENT, all_send.document.id, SHARED)
    elif mine:
        memory = mine.pop(chosen.randrange(len(mine)))
        with suppress(NotFoundError):
            if deed == FORGET:
                tell(FORGETTING, memory.message_id, "")
                await lab.memories.delete(memory.id)
                tell(FORGET, memory.message_id, "")
            else:
                await lab.memories.correct(memory.id, f"{memory.text}, or not")
                tell(CORRECT, memory.message_id, f"{memory.text}, or not")


def main() -> None:
    """Start a process for each job that comes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that ended
    pids: list[int] = []
    for line in sys.stdin:
        if not (pid := os.fork()):
            status = 1
            try:
                sys.stdin.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                asyncio.run(write(Job(**json.loads(line))))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)  # what the fork inherited is not this one's to close
        pids.append(pid)
        print(pid, flush=True)  # noqa: T201 - read by who asked
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
