"""Who holds which memory: everybody may see it, administrators change it."""

from fastapi import APIRouter, status

from api.deps import AdminDep, CallerDep, InferDep, RuntimeDep
from lab.schemas.caller import Caller
from lab.schemas.lease import Lease
from lab.schemas.residency import Residency
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.scope import Scope

router = APIRouter(prefix="/v1/residency", tags=["residency"])


@router.get("")
async def get_residency(runtime: RuntimeDep, owner: InferDep, caller: CallerDep) -> Residency:
    """Return what models take of their devices, who uses them, and the last decisions."""
    residency = runtime.pipelines.residency()
    models = [
        model.model_copy(update={"leases": [_seen(lease, caller) for lease in model.leases]})
        for model in residency.models
    ]
    return residency.model_copy(update={"models": models})


@router.put("/{model_id:path}")
async def load_model(model_id: str, runtime: RuntimeDep, admin: AdminDep) -> Residency:
    """Bring a model into memory before anybody asks for it."""
    await runtime.pipelines.load(model_id)
    return runtime.pipelines.residency()


@router.patch("/{model_id:path}")
async def update_residency(
    model_id: str, update: ResidencyUpdate, runtime: RuntimeDep, admin: AdminDep
) -> Residency:
    """Pin a model or end that, and say how early it leaves when others need its memory."""
    runtime.pipelines.share(model_id, update)
    return runtime.pipelines.residency()


@router.delete("/{model_id:path}", status_code=status.HTTP_204_NO_CONTENT)
async def unload_model(model_id: str, runtime: RuntimeDep, admin: AdminDep) -> None:
    """Take a model out of memory; one that is used stays, and the answer is 409."""
    await runtime.pipelines.unload(model_id)


def _seen(lease: Lease, caller: Caller) -> Lease:
    """Return a lease as the caller may see it: whose it is only of one's own, or to admins."""
    if lease.owner_id == caller.user.id or Scope.custom_lab_admin in caller.scopes:
        return lease
    return lease.model_copy(update={"owner_id": None})
