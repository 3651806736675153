"""Further wordings of what is looked for on the web, written by a model."""

import json
from typing import Any, Final

from lab.db import Database
from lab.errors import InputError, rebuild
from lab.pipelines import run_pipeline
from lab.prompts import WORDINGS_INSTRUCTION
from lab.protocols import Pipelines
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model_profile import ModelProfile
from lab.schemas.response_format import ResponseFormat
from lab.schemas.response_kind import ResponseKind
from lab.schemas.role import Role
from lab.schemas.user import User
from lab.workflows.preferences import Preferences

LONGEST: Final = 200
"""Characters of a wording."""
TOKENS_EACH: Final = 96
"""Tokens that a wording may take, more than any has of `LONGEST` characters of prose."""


class Wordings:
    """
    Writes wordings for people.

    Parameters
    ----------
    database : Database
        Where it is kept what a model cost.
    pipelines : Pipelines
        Where models are.
    preferences : Preferences
        What people have set: `roles.analysis` writes, else who answers them.
    """

    def __init__(self, database: Database, pipelines: Pipelines, preferences: Preferences) -> None:
        self._database = database
        self._pipelines = pipelines
        self._preferences = preferences

    async def of(self, owner: User, query: str, most: int) -> list[str]:
        """
        Return at most so many wordings of a query, each once and none of them the query.

        Raises
        ------
        InputError
            If the model is one that cannot, or the query does not fit into its window.
        """
        settings = await self._preferences.settings_of(owner)
        analysis = settings.config.roles.analysis
        profile = await self._preferences.profile(owner, settings, analysis)
        async with self._pipelines.chat(profile.model, purpose="search", owner=owner.id) as chat:
            if chat.model.is_demo:
                raise InputError(_unusable(profile, "It demonstrates the lab and words nothing."))
            parameters = GenerationParameters(
                max_new_tokens=most * TOKENS_EACH,
                temperature=0,
                seed=0,
                response_format=ResponseFormat(
                    type=ResponseKind.json_schema,
                    json_schema={"name": "wordings", "schema": _schema(most), "strict": False},
                ),
            )
            messages = [
                ChatMessage(role=Role.system, content=WORDINGS_INSTRUCTION.format(n=most)),
                ChatMessage(role=Role.user, content=query),
            ]
            try:
                answer = await run_pipeline(chat, messages, parameters)
            except InputError as error:
                raise rebuild(error.code, _unusable(profile, str(error))) from error
        async with self._database.stores(owner.id) as stores:
            await stores.usage.add(profile.model, profile.id, answer.usage)
        try:
            written = json.loads(answer.content)["wordings"]
        except (ValueError, KeyError, TypeError):  # cut off, or of a server that holds no form
            raise InputError(_unusable(profile, "Its answer is no list of wordings.")) from None
        return _distinct(query, written)[:most]


def _schema(most: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": LONGEST}
    return {
        "type": "object",
        "properties": {
            "wordings": {"type": "array", "items": text, "minItems": 1, "maxItems": most}
        },
        "required": ["wordings"],
        "additionalProperties": False,
    }


def _distinct(query: str, written: list[str]) -> list[str]:
    """
    Return wordings that look for something else than those before.

    >>> _distinct("Oslo", ["oslo ", "Oslo fjord", "", "oslo  fjord"])
    ['Oslo fjord']
    """
    found = {" ".join(query.split()).casefold(): ""}
    for one in written:
        plain = " ".join(str(one).split())
        if plain:
            found.setdefault(plain.casefold(), plain)
    return [wording for wording in found.values() if wording]


def _unusable(profile: ModelProfile, why: str) -> str:
    return (
        f"`{profile.id}` wrote no wordings of the query. {why} Search without `wordings`, or let "
        "another model write them (`lab models use NAME --role analysis`)."
    )
