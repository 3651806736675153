"""What others share: searched for a question together with one's own, in a session of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from lab.context import words_of
from lab.db import Commonness, Database
from lab.protocols import Signals
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.schemas.user import User
from lab.workflows.question import Question

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


NOTHING_SHARED: Final = SharedTalk()


class Shared:
    """
    What others share.

    Each method opens transactions of its own: who holds one while waiting for a second can lock
    everybody out.

    Parameters
    ----------
    database : Database
        Where it is.
    asking : UUID
        Who asks: what they share themselves is not looked at.
    """

    def __init__(self, database: Database, asking: UUID) -> None:
        self._database = database
        self._asking = asking

    async def find(self, question: Question) -> SharedTalk:
        """Look through what others share."""
        owners: dict[UUID, User] = {}
        chats: dict[UUID, list[UUID]] = {}
        query = await question.vector()
        async with self._database.accounts() as accounts:
            for owner, conversation_id in await accounts.shared(self._asking, MOST_SHARED):
                owners[owner.id] = owner
                chats.setdefault(owner.id, []).append(conversation_id)
            if not owners:
                return NOTHING_SHARED
            everywhere = await accounts.commonness(self._asking, question.text, chats)
        signals: dict[UUID, Signals] = {}
        for id, owner in owners.items():
            async with self._database.stores(id) as stores:
                signals[id] = await stores.memories.signals(
                    question.text,
                    query,
                    model=question.embedding.signature,
                    role=_role_meant(question.text, owner),
                    conversation_ids=chats[id],
                    everywhere=everywhere,
                )
        names = {id: owner.name for id, owner in owners.items()}
        return SharedTalk(signals, names, everywhere)

    async def memories(self, talk: SharedTalk, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        """Return those of the memories that are others' and still there."""
        found: dict[UUID, Memory] = {}
        for owner_id, signals in talk.signals.items():
            if theirs := set(ids).intersection(signals.ids):
                async with self._database.stores(owner_id) as stores:
                    found |= await stores.memories.some(list(theirs))
        return found


def _role_meant(question: str, owner: User) -> Role | None:
    """Return whose words a question asks for: an asker's "I" and "you" are nobody here."""
    return Role.user if set(words_of(owner.name)) <= set(words_of(question)) else None
