"""Tools: the lab's, and those written for the caller, who approves each before it runs."""

from uuid import UUID

from fastapi import APIRouter, Request

from api.deps import InferDep, MemoryDep, RuntimeDep
from api.disconnect import unless_gone
from lab.schemas.dynamic_tool import DynamicTool
from lab.schemas.dynamic_tool_approval import DynamicToolApproval
from lab.schemas.dynamic_tool_proposal import DynamicToolProposal
from lab.schemas.dynamic_tool_request import DynamicToolRequest
from lab.schemas.dynamic_tool_run import DynamicToolRun
from lab.schemas.dynamic_tool_update import DynamicToolUpdate
from lab.schemas.dynamic_tool_wish import DynamicToolWish
from lab.schemas.offered_tool import OfferedTool
from lab.schemas.sandbox_result import SandboxResult

router = APIRouter(prefix="/v1/tools", tags=["tools"])


@router.get("")
async def list_tools(runtime: RuntimeDep, owner: InferDep) -> list[OfferedTool]:
    """Return the tools that the lab can run for the caller, by name."""
    return await runtime.tools(owner)


@router.get("/own")
async def own_tools(runtime: RuntimeDep, owner: MemoryDep) -> list[DynamicTool]:
    """Return the caller's tools, by name."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.dynamic_tools.all()


@router.post("", status_code=201)
async def add_tool(tool: DynamicToolRequest, runtime: RuntimeDep, owner: MemoryDep) -> DynamicTool:
    """Keep a tool that was written by hand; it waits for approval."""
    return await runtime.dynamic_tools.add(owner, tool)


@router.post("/propose")
async def propose_tool(
    wish: DynamicToolWish, request: Request, runtime: RuntimeDep, owner: MemoryDep, _: InferDep
) -> DynamicToolProposal:
    """Return a tool that does what the caller wants: one that is there, or one newly written."""
    return await unless_gone(request, runtime.dynamic_tools.propose(owner, wish))


@router.get("/{tool_id}")
async def get_tool(tool_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> DynamicTool:
    """Return a tool with its code."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.dynamic_tools.get(tool_id)


@router.put("/{tool_id}")
async def change_tool(
    tool_id: UUID, update: DynamicToolUpdate, runtime: RuntimeDep, owner: MemoryDep
) -> DynamicTool:
    """Write a tool anew, which waits for approval again; 409 when it is at another version."""
    return await runtime.dynamic_tools.change(owner, tool_id, update)


@router.post("/{tool_id}/approve")
async def approve_tool(
    tool_id: UUID, approval: DynamicToolApproval, runtime: RuntimeDep, owner: MemoryDep
) -> DynamicTool:
    """Let the version that the caller read run; 409 when it is at another one by now."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.dynamic_tools.approve(tool_id, approval.version)


@router.post("/{tool_id}/run")
async def run_tool(
    tool_id: UUID,
    call: DynamicToolRun,
    request: Request,
    runtime: RuntimeDep,
    owner: MemoryDep,
    _: InferDep,
) -> SandboxResult:
    """Call an approved tool in the sandbox; a caller that leaves ends it."""
    return await unless_gone(request, runtime.dynamic_tools.run(owner.id, tool_id, call.arguments))


@router.delete("/{tool_id}", status_code=204)
async def remove_tool(tool_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a tool."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.dynamic_tools.delete(tool_id)
