"""Models: what `model` in a request may name."""

from pathlib import Path

from fastapi import APIRouter, Request

from api.deps import AdminDep, CallerDep, InferDep, RuntimeDep
from lab.errors import UnknownModelError
from lab.runtime import Runtime
from lab.schemas.caller import Caller
from lab.schemas.engine import Engine
from lab.schemas.model import Model
from lab.schemas.model_card import ModelCard
from lab.schemas.model_list import ModelList
from lab.schemas.model_pin import ModelPin
from lab.schemas.model_profile import ModelProfile
from lab.schemas.model_request import ModelRequest
from lab.schemas.scope import Scope
from lab.schemas.task import Task

router = APIRouter(prefix="/v1/models", tags=["models"])

THE_LAB = "lab"


@router.get("")
async def list_models(
    http: Request, runtime: RuntimeDep, owner: InferDep, caller: CallerDep
) -> ModelList:
    """Return what `model` in a request may name; the first is the lab's default."""
    await runtime.pipelines.discover()
    return ModelList(data=await _cards(runtime, caller, http.app.state.started))


@router.get("/{model_id:path}")
async def get_model(
    model_id: str, http: Request, runtime: RuntimeDep, owner: InferDep, caller: CallerDep
) -> ModelCard:
    """Return one model or profile."""
    await runtime.pipelines.discover()
    known = {card.id: card for card in await _cards(runtime, caller, http.app.state.started)}
    if model_id not in known:
        raise UnknownModelError(model_id, list(known))
    return known[model_id]


@router.post("", status_code=201)
async def add_model(
    request: ModelRequest, http: Request, runtime: RuntimeDep, admin: AdminDep, caller: CallerDep
) -> ModelCard:
    """Add a model, by a Hugging Face id or a folder; its files are checked, and none is loaded."""
    model = await runtime.models.add(request)
    return await _card_of(model, http, runtime, caller)


@router.patch("/{model_id:path}")
async def pin_model(
    model_id: str,
    pin: ModelPin,
    http: Request,
    runtime: RuntimeDep,
    admin: AdminDep,
    caller: CallerDep,
) -> ModelCard:
    """Pin a model to a commit whose files are on the lab's machine."""
    model = await runtime.models.pin(model_id, pin)
    return await _card_of(model, http, runtime, caller)


@router.delete("/{model_id:path}", status_code=204)
async def remove_model(model_id: str, runtime: RuntimeDep, admin: AdminDep) -> None:
    """Take a model out of the lab, and leave its files; 409 while it is used."""
    await runtime.models.remove(model_id)


async def _card_of(model: Model, http: Request, runtime: Runtime, caller: Caller) -> ModelCard:
    cards = await _cards(runtime, caller, http.app.state.started)
    return next(card for card in cards if card.id == model.id)


async def _cards(runtime: Runtime, caller: Caller, since: int) -> list[ModelCard]:
    """Return what a user may name: a profile of theirs is shown to nobody else."""
    own = await runtime.profiles.own(caller.user)
    named = [stored.profile.model for stored in own]
    models = {model.id: model for model in runtime.pipelines.models(*named)}
    offered = [(THE_LAB, profile) for profile in runtime.pipelines.profiles()]
    offered += [
        (THE_LAB, ModelProfile(id=model.id, model=model.id, description=model.description))
        for model in models.values()
        if model.task is not Task.chat
    ]
    taken = {profile.id for _, profile in offered}
    offered += [
        (caller.user.name, stored.profile)
        for stored in own
        if stored.profile.id not in taken and stored.profile.model in models
    ]
    sizes = await runtime.models.sizes()
    is_admin = Scope.custom_lab_admin in caller.scopes
    return [
        _card(profile, models[profile.model], is_admin=is_admin).model_copy(
            update={"owned_by": who, "created": since, "size_bytes": sizes.get(profile.model)}
        )
        for who, profile in offered
    ]


def _card(profile: ModelProfile, model: Model, *, is_admin: bool) -> ModelCard:
    is_folder = Path(model.source).is_absolute()
    is_of_hub = model.engine is not Engine.remote and not is_folder
    return ModelCard(
        id=profile.id,
        created=0,
        owned_by=THE_LAB,
        model=model.id,
        task=model.task,
        description=profile.description,
        context_length=profile.context_length or model.context_length,
        dim=model.dim,
        tools=model.tools,
        thinking=model.thinking,
        vision=model.vision,
        hub_id=model.source if is_of_hub else None,
        folder=model.source if is_folder and is_admin else None,
        revision=model.revision,
        is_demo=model.is_demo,
        loaded=model.loaded,
    )
