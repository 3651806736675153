"""What research depends on: typed, never stored in a checkpoint."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from uuid import UUID

from lab.db import Stores
from lab.protocols import EmbeddingKind, FloatArray, Pipelines
from lab.schemas.event_type import EventType
from lab.schemas.model_profile import ModelProfile
from lab.schemas.research_config import ResearchConfig
from lab.schemas.research_task import ResearchTask
from lab.schemas.usage import Usage
from lab.workflows.context import Told
from lab.workflows.web import Web


class LeasedEmbedding:
    """
    The embedding model, leased for each use: who waits for the web, or a model, holds none.

    Parameters
    ----------
    pipelines : Pipelines
        Where it is.
    """

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    async def embed(self, texts: Sequence[str], *, kind: EmbeddingKind = "document") -> FloatArray:
        """Return unit vectors of shape (N, D), in the order of `texts`."""
        async with self._pipelines.embedding() as embedding:
            return await embedding.embed(texts, kind=kind)


@dataclass(frozen=True)
class ResearchContext:
    """The models, the storage and the limits of one run of a task."""

    task: ResearchTask
    run_id: UUID
    profile: ModelProfile
    """Who plans and sums up."""

    pipelines: Pipelines
    embedding: LeasedEmbedding
    web: Web
    stores: Callable[[], AbstractAsyncContextManager[Stores]]
    """Opens a transaction on what the owner has."""

    most_pages_at_once: int
    """Pages that one request may read (`pages.max_pages`)."""

    ends_at: float
    """When time is up, by a clock that only rises."""

    told: asyncio.Queue[Told | None] = field(default_factory=asyncio.Queue)
    """What its steps tell, until None."""

    spent: list[Usage] = field(default_factory=list)
    """What each answer of a model cost in this run."""

    @property
    def research(self) -> ResearchConfig:
        """How far it goes."""
        return self.task.limits

    def left_s(self) -> float:
        """Return the seconds that are left; none below 0."""
        return max(0.0, self.ends_at - time.monotonic())

    def tell(self, type_: EventType, **data: object) -> None:
        """Let whoever follows know."""
        self.told.put_nowait((type_, data))
