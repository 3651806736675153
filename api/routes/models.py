"""Models and profiles."""

from fastapi import APIRouter, Request

from api.deps import InferDep, RuntimeDep
from lab.errors import UnknownModelError
from lab.runtime import Runtime
from lab.schemas.model import Model
from lab.schemas.model_card import ModelCard
from lab.schemas.model_list import ModelList
from lab.schemas.model_profile import ModelProfile
from lab.schemas.task import Task

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models")
async def list_models(http: Request, runtime: RuntimeDep, owner: InferDep) -> ModelList:
    """Return what `model` in a request may name; the first is the lab's default."""
    return ModelList(data=_cards(runtime, http.app.state.started))


@router.get("/models/{model_id:path}")
async def get_model(
    model_id: str, http: Request, runtime: RuntimeDep, owner: InferDep
) -> ModelCard:
    """Return one model or profile."""
    known = {card.id: card for card in _cards(runtime, http.app.state.started)}
    if model_id not in known:
        raise UnknownModelError(model_id, list(known))
    return known[model_id]


@router.get("/profiles")
async def list_profiles(runtime: RuntimeDep, owner: InferDep) -> list[ModelProfile]:
    """Return the profiles of the lab."""
    return runtime.pipelines.profiles()


def _cards(runtime: Runtime, since: int) -> list[ModelCard]:
    models = {model.id: model for model in runtime.pipelines.models()}
    chats = [
        _card(profile.id, models[profile.model], profile.description, since)
        for profile in runtime.pipelines.profiles()
    ]
    others = [
        _card(model.id, model, model.description, since)
        for model in models.values()
        if model.task is not Task.chat
    ]
    return chats + others


def _card(id_: str, model: Model, description: str, since: int) -> ModelCard:
    return ModelCard(
        id=id_,
        created=since,
        owned_by="lab",
        model=model.id,
        task=model.task,
        description=description,
        context_length=model.context_length,
        dim=model.dim,
        is_demo=model.is_demo,
        loaded=model.loaded,
    )
