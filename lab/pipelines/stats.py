"""How much the pipelines do."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lab.pipelines.remote.endpoints import Endpoints
from lab.pipelines.residency import Residents
from lab.pipelines.tally import Tally
from lab.schemas.engine import Engine
from lab.schemas.model import Model
from lab.schemas.task import Task

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat
    from lab.pipelines.served.chat import ServedChat


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """A moment's load over all chat models, and what was done since the start."""

    active_streams: int
    queued: int
    prompt_tokens: int
    generated_tokens: int
    models_loaded: int
    leases: int
    evictions: int
    remote_streams: dict[str, int]
    """Answers under way at other servers, by endpoint; `active_streams` has them too."""


def stats_of(
    residents: Residents,
    models: Iterable[Model],
    endpoints: Endpoints,
    tallies: Collection[Tally],
) -> PipelineStats:
    """Return the load now, over models here and those of other servers."""
    loaded = residents.loaded
    chats = [model for model in models if model.task is Task.chat and model.id in loaded]
    engines = [
        cast("TransformersChat", loaded[model.id]).engine.stats
        for model in chats
        if model.engine is Engine.lab
    ]
    served = [
        cast("ServedChat", loaded[model.id]).active
        for model in chats
        if model.engine in (Engine.vllm, Engine.llama_cpp)
    ]
    elsewhere = endpoints.active
    leases = sum(len(holding.uses) for holding in residents.ledger.holdings.values())
    return PipelineStats(
        active_streams=sum([*(stats.active for stats in engines), *served, *elsewhere.values()]),
        queued=sum(stats.queued for stats in engines),
        prompt_tokens=sum(tally.prompt_tokens for tally in tallies),
        generated_tokens=sum(tally.generated_tokens for tally in tallies),
        models_loaded=len(loaded),
        leases=leases + endpoints.leases,
        evictions=residents.ledger.n_evictions,
        remote_streams=elsewhere,
    )
