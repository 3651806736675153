"""The stores of one user, on one transaction."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.api_keys import ApiKeyStore
from lab.db.conversations import ConversationStore
from lab.db.documents import DocumentStore
from lab.db.eval_runs import EvalRunStore
from lab.db.events import EventStore
from lab.db.facts import FactStore
from lab.db.memories import MemoryStore
from lab.db.messages import MessageStore
from lab.db.runs import RunStore
from lab.db.schedules import ScheduleStore
from lab.db.summaries import SummaryStore
from lab.db.usage import UsageStore
from lab.db.user_configs import UserConfigStore


class Stores:
    """
    What one user owns, by kind.

    Parameters
    ----------
    session : AsyncSession
        Open session; whoever opened it commits.
    owner_id : UUID
        The user.
    """

    def __init__(self, session: AsyncSession, owner_id: UUID) -> None:
        self.conversations = ConversationStore(session, owner_id)
        self.messages = MessageStore(session, owner_id)
        self.memories = MemoryStore(session, owner_id)
        self.summaries = SummaryStore(session, owner_id)
        self.facts = FactStore(session, owner_id)
        self.documents = DocumentStore(session, owner_id)
        self.runs = RunStore(session, owner_id)
        self.events = EventStore(session, owner_id)
        self.usage = UsageStore(session, owner_id)
        self.eval_runs = EvalRunStore(session, owner_id)
        self.schedules = ScheduleStore(session, owner_id)
        self.api_keys = ApiKeyStore(session, owner_id)
        self.config = UserConfigStore(session, owner_id)
