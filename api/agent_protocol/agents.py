"""Profiles, as agents."""

from typing import Any

from lab.schemas.agent import Agent
from lab.schemas.agent_schemas import AgentSchemas
from lab.schemas.model_profile import ModelProfile
from lab.schemas.run_configurable import RunConfigurable
from lab.schemas.thread_message import ThreadMessage


def agent_of(profile: ModelProfile) -> Agent:
    """Return a profile as an agent."""
    return Agent(
        agent_id=profile.id,
        name=profile.id,
        description=profile.description,
        metadata={"model": profile.model, "workflow": profile.workflow},
        capabilities={"ap.io.messages": True, "ap.io.streaming": True},
    )


def schemas_of(profile: ModelProfile) -> AgentSchemas:
    """Return what an agent takes and gives."""
    return AgentSchemas(
        agent_id=profile.id,
        input_schema=_messages(),
        output_schema=_messages(),
        state_schema=_messages(),
        config_schema=RunConfigurable.model_json_schema(),
    )


def _messages() -> dict[str, Any]:
    message = ThreadMessage.model_json_schema()
    return {
        "type": "object",
        "properties": {"messages": {"type": "array", "items": message}},
        "required": ["messages"],
    }
