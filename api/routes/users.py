"""The people of the lab, for its administrators."""

from fastapi import APIRouter

from api.deps import AdminDep, RuntimeDep
from lab.schemas.user import User

router = APIRouter(prefix="/v1/users", tags=["users"])


@router.get("")
async def list_users(runtime: RuntimeDep, admin: AdminDep) -> list[User]:
    """Return everybody who may use the lab, by name."""
    async with runtime.database.accounts() as accounts:
        return await accounts.list()
