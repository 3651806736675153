"""Models: what `model` in a request may name."""

from fastapi import APIRouter, Request

from api.deps import InferDep, RuntimeDep
from lab.errors import UnknownModelError
from lab.runtime import Runtime
from lab.schemas.model import Model
from lab.schemas.model_card import ModelCard
from lab.schemas.model_list import ModelList
from lab.schemas.model_profile import ModelProfile
from lab.schemas.task import Task
from lab.schemas.user import User

router = APIRouter(prefix="/v1/models", tags=["models"])

THE_LAB = "lab"


@router.get("")
async def list_models(http: Request, runtime: RuntimeDep, owner: InferDep) -> ModelList:
    """Return what `model` in a request may name; the first is the lab's default."""
    return ModelList(data=await _cards(runtime, owner, http.app.state.started))


@router.get("/{model_id:path}")
async def get_model(
    model_id: str, http: Request, runtime: RuntimeDep, owner: InferDep
) -> ModelCard:
    """Return one model or profile."""
    known = {card.id: card for card in await _cards(runtime, owner, http.app.state.started)}
    if model_id not in known:
        raise UnknownModelError(model_id, list(known))
    return known[model_id]


async def _cards(runtime: Runtime, owner: User, since: int) -> list[ModelCard]:
    """Return what a user may name: a profile of theirs is shown to nobody else."""
    models = {model.id: model for model in runtime.pipelines.models()}
    offered = [(THE_LAB, profile) for profile in runtime.pipelines.profiles()]
    offered += [
        (THE_LAB, ModelProfile(id=model.id, model=model.id, description=model.description))
        for model in models.values()
        if model.task is not Task.chat
    ]
    taken = {profile.id for _, profile in offered}
    offered += [
        (owner.name, stored.profile)
        for stored in await runtime.profiles.own(owner)
        if stored.profile.id not in taken and stored.profile.model in models
    ]
    return [
        _card(profile, models[profile.model], owned_by=who, since=since) for who, profile in offered
    ]


def _card(profile: ModelProfile, model: Model, *, owned_by: str, since: int) -> ModelCard:
    return ModelCard(
        id=profile.id,
        created=since,
        owned_by=owned_by,
        model=model.id,
        task=model.task,
        description=profile.description,
        context_length=profile.context_length or model.context_length,
        dim=model.dim,
        tools=model.tools,
        thinking=model.thinking,
        is_demo=model.is_demo,
        loaded=model.loaded,
    )
