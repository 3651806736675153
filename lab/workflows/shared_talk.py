"""What others share: searched for a question together with one's own, in a session of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from lab.context import words_of
from lab.db import Commonness, Database
from lab.protocols import FloatArray, Signals
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.schemas.user import User

MOST_SHARED: Final = 20
"""Conversations of others that are searched: those that were written to last."""


@dataclass(frozen=True)
class SharedTalk:
    """
    Turns of others that may answer a question.

    Attributes
    ----------
    signals : mapping
        What speaks for them, by owner.
    names : mapping
        Login names of the owners.
    everywhere : Commonness, optional
        How common the question's words are in all that is searched, one's own turns too; None
        where nothing is shared.
    """

    signals: Mapping[UUID, Signals] = field(default_factory=dict)
    names: Mapping[UUID, str] = field(default_factory=dict)
    everywhere: Commonness | None = None

    async def memories(self, database: Database, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        """Return those of the memories of that ids that are others' and still there."""
        found: dict[UUID, Memory] = {}
        for owner_id, signals in self.signals.items():
            if theirs := set(ids).intersection(signals.ids):
                async with database.stores(owner_id) as stores:
                    found |= await stores.memories.some(list(theirs))
        return found


async def find_shared(
    database: Database, asking: UUID, question: str, query: FloatArray, *, model: str
) -> SharedTalk:
    """
    Look through what others share.

    Parameters
    ----------
    database : Database
        Where it is.
    asking : UUID
        Who asks: what they share themselves is not looked at.
    question : str
        What is asked.
    query : array of shape (768,)
        Its embedding.
    model : str
        Signature of the model that made it.
    """
    owners: dict[UUID, User] = {}
    chats: dict[UUID, list[UUID]] = {}
    async with database.accounts() as accounts:
        for owner, conversation_id in await accounts.shared(asking, MOST_SHARED):
            owners[owner.id] = owner
            chats.setdefault(owner.id, []).append(conversation_id)
        if not owners:
            return SharedTalk()
        everywhere = await accounts.commonness(asking, question, chats)
    signals: dict[UUID, Signals] = {}
    for id, owner in owners.items():
        async with database.stores(id) as stores:
            signals[id] = await stores.memories.signals(
                question,
                query,
                model=model,
                role=_role_meant(question, owner),
                conversation_ids=chats[id],
                everywhere=everywhere,
            )
    return SharedTalk(signals, {id: owner.name for id, owner in owners.items()}, everywhere)


def _role_meant(question: str, owner: User) -> Role | None:
    """Return whose words a question asks for: an asker's "I" and "you" are nobody here."""
    return Role.user if set(words_of(owner.name)) <= set(words_of(question)) else None
