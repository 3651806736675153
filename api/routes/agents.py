"""Agents of the Agent Protocol: profiles, as programs look for them."""

from fastapi import APIRouter

from api.agent_protocol.agents import agent_of, schemas_of
from api.deps import InferDep, RuntimeDep
from lab.runtime import Runtime
from lab.schemas.agent import Agent
from lab.schemas.agent_schemas import AgentSchemas
from lab.schemas.agent_search_request import AgentSearchRequest
from lab.schemas.model_profile import ModelProfile
from lab.schemas.user import User

router = APIRouter(prefix="/v1/agents", tags=["threads"])


@router.post("/search")
async def search_agents(
    request: AgentSearchRequest, runtime: RuntimeDep, owner: InferDep
) -> list[Agent]:
    """Return the profiles of the lab and the caller's own, by name."""
    async with runtime.database.stores(owner.id) as stores:
        own = [stored.profile for stored in await stores.model_profiles.all()]
    await runtime.pipelines.discover()
    by_name = {profile.id: profile for profile in [*runtime.pipelines.profiles(), *own]}
    agents = [agent_of(by_name[name]) for name in sorted(by_name)]
    wanted = [
        agent
        for agent in agents
        if (request.name or "") in agent.name
        and all(agent.metadata.get(k) == value for k, value in (request.metadata or {}).items())
    ]
    return wanted[request.offset : request.offset + request.limit]


# The ids of models may have slashes.
@router.get("/{agent_id:path}/schemas")
async def get_agent_schemas(agent_id: str, runtime: RuntimeDep, owner: InferDep) -> AgentSchemas:
    """Return what an agent takes and gives, as JSON Schemas."""
    return schemas_of(await _profile(runtime, owner, agent_id))


@router.get("/{agent_id:path}")
async def get_agent(agent_id: str, runtime: RuntimeDep, owner: InferDep) -> Agent:
    """Return a profile."""
    return agent_of(await _profile(runtime, owner, agent_id))


async def _profile(runtime: Runtime, owner: User, name: str) -> ModelProfile:
    settings = await runtime.preferences.settings_of(owner)
    return await runtime.preferences.profile(owner, settings, name)
