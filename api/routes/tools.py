"""The tools that the lab runs itself."""

from fastapi import APIRouter

from api.deps import InferDep, RuntimeDep
from lab.schemas.offered_tool import OfferedTool

router = APIRouter(prefix="/v1/tools", tags=["tools"])


@router.get("")
async def list_tools(runtime: RuntimeDep, owner: InferDep) -> list[OfferedTool]:
    """Return the tools that the lab can run for the caller, by name."""
    return await runtime.tools(owner)
