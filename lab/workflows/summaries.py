"""
Keep the summaries of conversations up to date, in the background.

What is due follows from the tables alone: the earliest messages that no summary covers, as soon as
there are enough of them; then the earliest summaries of a level that none of the next one covers.
So a process that is killed loses one answer of the model at most, and what was deleted is written
anew without what is gone, and nothing else is.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import structlog

from lab.config import Settings
from lab.db import Database
from lab.db.facts import Statement
from lab.db.summaries import MASTER, Sources
from lab.errors import LabError
from lab.messages import transcript
from lab.protocols import EMBEDDING_DIM, ChatPipeline, FloatArray, Pipelines
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory import Memory
from lab.schemas.memory_config import Scope
from lab.schemas.model_profile import ModelProfile
from lab.schemas.summaries_config import SummariesConfig
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.user import User
from lab.workflows.extraction import MOST_KNOWN, Extracted, extract
from lab.workflows.preferences import Preferences
from lab.workflows.summary import joined, summarise
from lab.workflows.window import context_length_of, level_weights

NO_FACTS: Final = Extracted([])
RETRY_S: Final = 0.1
"""Between two looks at a conversation that another process summarises."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """A conversation to look at."""

    owner: User
    conversation_id: UUID
    profile: str | None = None
    """What answers there, and writes where a role is not set; None for the user's primary one."""


@dataclass(frozen=True)
class Writers:
    """Which profiles write."""

    summary: ModelProfile
    facts: ModelProfile


class Summariser:
    """
    Write summaries, one conversation at a time in this process, and at a time on a database.

    Parameters
    ----------
    database : Database
        Where memories and summaries are.
    pipelines : Pipelines
        Where models are.
    preferences : Preferences
        What people have set.
    """

    def __init__(
        self,
        database: Database,
        pipelines: Pipelines,
        preferences: Preferences,
    ) -> None:
        self._database = database
        self._pipelines = pipelines
        self._preferences = preferences
        self._jobs: dict[UUID, Job] = {}
        self._worker: asyncio.Task[None] | None = None
        # One at a time: each holds a connection while the model generates.
        self._at_work = asyncio.Lock()

    def wake(self, job: Job) -> None:
        """Look at a conversation soon."""
        self._jobs[job.conversation_id] = job
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="summaries")

    async def finish(self, job: Job) -> None:
        """Write all that is due of a conversation, or wait until another process has."""
        while not await self._run(job):
            await asyncio.sleep(RETRY_S)

    async def aclose(self) -> None:
        """Stop; what is not done is due again when the lab starts."""
        self._jobs.clear()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        while self._jobs:
            job = self._jobs.pop(next(iter(self._jobs)))
            conversation = str(job.conversation_id)
            try:
                await self._run(job)
            except LabError as error:
                log.warning("no summary", conversation_id=conversation, error=str(error))
            except Exception as error:
                log.error("no summary", conversation_id=conversation, exc_info=error)

    async def _run(self, job: Job) -> bool:
        """
        Write what is due; False when another process is at it.

        Whoever is refused the lock leaves its work to the holder: so that one looks again after it
        let go.
        """
        settings = await self._preferences.settings_of(job.owner)
        config = settings.config.summaries
        if not config.enabled:
            return True
        writers = await self._writers(job, settings)
        async with self._at_work:
            while await self._due(job, config):
                async with self._database.locked(f"summaries of {job.conversation_id}") as held:
                    if not held:
                        return False
                    while due := await self._due(job, config):
                        await self._write(job, settings, writers, *due)
        return True

    async def _due(self, job: Job, config: SummariesConfig) -> tuple[int, Sources] | None:
        """Return the next summary to write, by its level, and what it is made from."""
        async with self._database.stores(job.owner.id) as stores:
            for level in range(1, MASTER + 1):
                size = config.messages if level == 1 else config.fan_in
                # A master grows by all there is, in steps that do not depend on who asks when.
                most = None if level == MASTER else size
                sources, left_behind = await stores.summaries.waiting(
                    job.conversation_id, level, most
                )
                if len(sources) >= size:
                    return level, sources[: len(sources) // size * size]
                if sources and left_behind:
                    return level, sources
        return None

    async def _write(
        self,
        job: Job,
        settings: Settings,
        writers: Writers,
        level: int,
        sources: Sources,
    ) -> None:
        """Write one summary; only what it cost is stored when a source was changed meanwhile."""
        style = SummaryStyle.master if level == MASTER else settings.config.summaries.style
        texts: list[str] = []
        if level == MASTER:
            sources, texts = await self._grown(job, sources)
        memories = [source for source in sources if isinstance(source, Memory)]
        # Models are let go after each piece: others may wait for the memory.
        async with self._leased(job, writers.summary, "summary") as chat:
            if memories:
                written = await summarise(chat, _transcript(memories), style)
            else:
                texts = texts or [s.text for s in sources if isinstance(s, Summary)]
                written = await joined(chat, texts, style, _most_tokens(settings, chat))
            n_tokens = chat.count_text(written.text)
        found = await self._facts(job, settings, writers.facts, memories, written.text)
        vectors, model = await self._embedded(found.statements)
        async with self._database.stores(job.owner.id) as stores:
            summary = await stores.summaries.add(
                sources,
                level=level,
                text=written.text,
                style=style,
                model=chat.model.id,
                n_tokens=n_tokens,
            )
            if summary and found.statements:
                await stores.facts.add(summary, found.statements, vectors, model=model)
            for profile, costs in ((writers.summary, written.usage), (writers.facts, found.usage)):
                for usage in costs:
                    await stores.usage.add(profile.model, profile.id, usage)

    async def _facts(
        self,
        job: Job,
        settings: Settings,
        profile: ModelProfile,
        memories: Sequence[Memory],
        summary: str,
    ) -> Extracted:
        """Return the facts that a summary of memories is stored with; none without memories."""
        if not (memories and settings.config.facts.enabled):
            return NO_FACTS
        async with self._leased(job, profile, "facts") as chat:
            known: Sequence[str] = []
            if not chat.model.is_demo:  # which is told of none
                alone = settings.config.memory.scope is Scope.conversation
                async with self._database.stores(job.owner.id) as stores:
                    known = await stores.facts.abouts(
                        memories, MOST_KNOWN, job.conversation_id if alone else None
                    )
            return await extract(chat, memories, summary, known)

    async def _writers(self, job: Job, settings: Settings) -> Writers:
        """Return who writes for a conversation: who has the role, else who answers there."""
        roles = settings.config.roles

        async def writer(role: str | None) -> ModelProfile:
            return await self._preferences.profile(job.owner, settings, role, job.profile)

        return Writers(summary=await writer(roles.summary), facts=await writer(roles.analysis))

    def _leased(
        self, job: Job, profile: ModelProfile, purpose: str
    ) -> AbstractAsyncContextManager[ChatPipeline]:
        return self._pipelines.chat(profile.model, purpose=purpose, owner=job.owner.id)

    async def _embedded(self, statements: Sequence[Statement]) -> tuple[FloatArray, str]:
        """Return the embeddings (N, 768) of statements, and the signature of who made them."""
        if not statements:
            return np.zeros((0, EMBEDDING_DIM), dtype=np.float32), ""
        async with self._pipelines.embedding() as embedding:
            return await embedding.embed([one.text for one in statements]), embedding.signature

    async def _grown(self, job: Job, added: Sources) -> tuple[Sources, list[str]]:
        """Return all that a master is made from, and the texts to join: its own and what is new."""
        new = [source for source in added if isinstance(source, Summary)]
        async with self._database.stores(job.owner.id) as stores:
            found = await stores.summaries.master(job.conversation_id)
        if found is None:
            return new, [summary.text for summary in new]
        master, old = found
        return [*old, *new], [master.text, *(summary.text for summary in new)]


def _most_tokens(settings: Settings, chat: ChatPipeline) -> int:
    """Return the tokens of the longest summary that always finds its place in the window."""
    n_prompt = context_length_of(chat) - settings.config.context.answer_tokens
    weights = level_weights(settings.config.summaries)
    part = max(weights) / (sum(weights) or 1)
    return int(n_prompt * settings.config.summaries.share * part)


def _transcript(memories: Sequence[Memory]) -> list[str]:
    return [
        transcript([ChatMessage(role=memory.role, name=memory.name, content=memory.text)])
        for memory in memories
    ]
