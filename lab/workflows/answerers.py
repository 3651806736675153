"""Who answers a turn, and with what: profile, parameters, tools, and the members of its team."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lab.config import Settings
from lab.messages import n_pictures
from lab.pipelines import PipelineFactory
from lab.pipelines.profiles import check_asked
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.generation_config import GenerationConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model_profile import ModelProfile
from lab.schemas.user import User
from lab.workflows.breakers import Breakers
from lab.workflows.composer import IMAGE
from lab.workflows.context import ChatContext, Member
from lab.workflows.preferences import Preferences
from lab.workflows.resuming import AUTO, Resumed
from lab.workflows.routing import named
from lab.workflows.tools import LabTool, Toolbox
from lab.workflows.tools.offering import Wanted, wanted_tools


@dataclass(frozen=True)
class Plan:
    """Who answers a turn, and with what."""

    profile: ModelProfile
    parameters: GenerationParameters
    wanted: Wanted
    tools: Mapping[str, LabTool]
    stands_in_for: str | None


class Answerers:
    """
    Find who answers turns, and with what.

    Parameters
    ----------
    pipelines : PipelineFactory
        How models run.
    preferences : Preferences
        What people have set.
    breakers : Breakers
        Where it stands that a model or tool keeps failing.
    toolbox : Toolbox
        The tools that the lab runs itself.
    """

    def __init__(
        self,
        pipelines: PipelineFactory,
        preferences: Preferences,
        breakers: Breakers,
        toolbox: Toolbox,
    ) -> None:
        self._pipelines = pipelines
        self._preferences = preferences
        self._breakers = breakers
        self._toolbox = toolbox

    async def settings(self, owner: User, turn: ChatTurn) -> Settings:
        """Return the settings of a turn: the user's, under what the turn asks for."""
        users = await self._preferences.settings_of(owner)
        settings = users.overlay("request", turn.settings)
        if "ask" in turn.settings.get("tools", {}):  # whoever asks cannot take away what waits
            ask = [*users.config.tools.ask, *settings.config.tools.ask]
            settings = settings.overlay("request", {"tools": {"ask": list(dict.fromkeys(ask))}})
        return settings.overlay("request", _asked(turn))

    async def plan(
        self, owner: User, turn: ChatTurn, settings: Settings, resumed: Resumed | None
    ) -> Plan:
        """Return who answers a turn, and with what."""
        asked = await self._preferences.profile(owner, settings, turn.profile)
        profile = await self._stand_in(owner, asked, settings)
        parameters = resumed.parameters if resumed else _parameters(profile, settings, turn)
        way = resumed.route if resumed else named(turn, profile, settings, parameters)
        self.check(profile, parameters, turn, sees=way.workflow not in (IMAGE, AUTO))
        if resumed is None:
            model = self._pipelines.catalog.chat_model(profile.model)
            wanted = wanted_tools(turn, profile, settings, parameters, model)
        else:
            wanted = Wanted(resumed.tools, is_asked=False, turn=turn)
        return Plan(
            profile=profile,
            parameters=parameters,
            wanted=wanted,
            tools=await self._toolbox.named(owner.id, wanted.names, strict=wanted.is_asked),
            stands_in_for=asked.id if profile is not asked else None,
        )

    async def members(self, owner: User, context: ChatContext) -> list[Member]:
        """
        Return the members of the profile's team.

        Raises
        ------
        InputError
            If there are too many, one has a team itself, or the team is gone.
        """
        settings, seed = context.settings, context.parameters.seed
        found = await self._preferences.team(owner, settings, context.profile)
        given = context.turn.parameters or GenerationParameters()
        seeded = {**given.model_dump(exclude_unset=True), "seed": seed}
        turn = context.turn.model_copy(update={"parameters": GenerationParameters(**seeded)})
        return [
            Member(
                profile=member,
                parameters=_parameters(member, settings, turn),
                breaker=self._breakers.of("model", member.model),
                lease=partial(self._pipelines.chat, member.model, owner=owner.id),
            )
            for member in found
        ]

    def check(
        self,
        profile: ModelProfile,
        parameters: GenerationParameters,
        turn: ChatTurn,
        *,
        sees: bool = True,
    ) -> None:
        """Refuse what the model cannot do, before anything is loaded; it may not have to see."""
        model = self._pipelines.catalog.chat_model(profile.model)
        n_seen = n_pictures(turn.messages) if sees else 0
        check_asked(model, parameters, n_tools=len(turn.tools), n_pictures=n_seen)

    async def _stand_in(self, owner: User, asked: ModelProfile, settings: Settings) -> ModelProfile:
        """Return who answers in the place of a profile whose model keeps failing."""
        fallback = settings.config.roles.fallback
        if fallback is None or not self._breakers.of("model", asked.model).refuses:
            return asked
        return await self._preferences.profile(owner, settings, fallback)


def _asked(turn: ChatTurn) -> dict[str, dict[str, Any]]:
    """Return the settings that a turn overrides, as a layer."""
    sampling = set(GenerationConfig.model_fields)
    given = (
        turn.parameters.model_dump(include=sampling, exclude_unset=True) if turn.parameters else {}
    )
    layer = {"generation": given, "memory": {"enabled": turn.memory}}
    return {s: v for s, v in layer.items() if any(value is not None for value in v.values())}


def _parameters(profile: ModelProfile, settings: Settings, turn: ChatTurn) -> GenerationParameters:
    """Merge profile, user and request; draw the seed when nobody set one."""
    user = settings.config.generation.model_dump(exclude_none=True)
    user["guards"] = settings.config.guards
    merged = {
        **(profile.parameters.model_dump(exclude_unset=True) if profile.parameters else {}),
        **user,
        **(turn.parameters.model_dump(exclude_unset=True) if turn.parameters else {}),
    }
    merged = {key: value for key, value in merged.items() if value is not None}
    return GenerationParameters.model_validate({"seed": secrets.randbits(32), **merged})
