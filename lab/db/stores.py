"""The stores of one user, on one transaction."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.api_keys import ApiKeyStore
from lab.db.conversations import ConversationStore
from lab.db.documents import DocumentStore
from lab.db.dynamic_tools import DynamicToolStore
from lab.db.eval_runs import EvalRunStore
from lab.db.events import EventStore
from lab.db.facts import FactStore
from lab.db.files import FileStore
from lab.db.forks import ForkStore
from lab.db.images import ImageStore
from lab.db.memories import MemoryStore
from lab.db.messages import MessageStore
from lab.db.model_profiles import ModelProfileStore
from lab.db.research import (
    ResearchCitationStore,
    ResearchStepStore,
    ResearchTaskStore,
    SearchResultStore,
)
from lab.db.runs import RunStore
from lab.db.schedules import ScheduleStore
from lab.db.store_items import StoreItemStore
from lab.db.summaries import SummaryStore
from lab.db.threads import ThreadStore
from lab.db.todos import TodoStore
from lab.db.usage import UsageStore
from lab.db.user_configs import UserConfigStore
from lab.db.web_pages import WebPageStore


class Stores:
    """
    What one user owns, by kind.

    Parameters
    ----------
    session : AsyncSession
        Open session; whoever opened it commits.
    owner_id : UUID
        The user.
    max_file_bytes : int
        Size of the largest file that is stored.
    """

    def __init__(self, session: AsyncSession, owner_id: UUID, max_file_bytes: int) -> None:
        self.conversations = ConversationStore(session, owner_id)
        self.forks = ForkStore(session, owner_id)
        self.threads = ThreadStore(session, owner_id)
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
        self.files = FileStore(session, owner_id, max_file_bytes)
        self.images = ImageStore(session, owner_id)
        self.model_profiles = ModelProfileStore(session, owner_id)
        self.dynamic_tools = DynamicToolStore(session, owner_id)
        self.items = StoreItemStore(session, owner_id)
        self.todos = TodoStore(session, owner_id)
        self.research_tasks = ResearchTaskStore(session, owner_id)
        self.research_steps = ResearchStepStore(session, owner_id)
        self.search_results = SearchResultStore(session, owner_id)
        self.research_citations = ResearchCitationStore(session, owner_id)
        self.web_pages = WebPageStore(session, owner_id)
