"""Tables, one class each. A change here needs a migration in `lab/db/migrations/versions`."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    false,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from lab.db.ids import new_id
from lab.protocols import EMBEDDING_DIM, FloatArray

EMBEDDING_IN_SPACE: Final = (
    "(embedding::halfvec(768) || memory_space(owner_id, embedding_model))::halfvec(832)"
)
"""What the index of embeddings holds: half as precise, with 64 numbers of the owner and model."""


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - declared by SQLAlchemy as an instance attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


class OwnedRow(Base):
    """A row of one user, found by its id."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class VersionedRow(OwnedRow):
    """A row that two may want to change at once: a change names the version that it was made to."""

    __abstract__ = True

    version: Mapped[int] = mapped_column(default=1)


class WorkRow(OwnedRow):
    """
    What a lab works on; it is left when that lab is gone (`lab.db.presence`).

    The number is written as PostgreSQL keeps it, so that a check of the schema finds it the same.
    """

    __abstract__ = True

    lab_number: Mapped[int | None] = mapped_column(
        server_default=text(
            "(NULLIF(current_setting('lab.number'::text, true), ''::text))::integer"
        )
    )


class UserRow(Base):
    """A person or service that owns rows."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    is_active: Mapped[bool] = mapped_column(default=True)
    groups: Mapped[list[Any]] = mapped_column(default=list)
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class UserConfigRow(Base):
    """The settings that a user changed."""

    __tablename__ = "user_configs"

    owner_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    values: Mapped[dict[str, Any]]


class ModelRow(Base):
    """A model that was added to the lab, or the commit that one of the settings is pinned to."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Its name in requests."""
    task: Mapped[str]
    source: Mapped[str]
    revision: Mapped[str | None]
    description: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class ApiKeyRow(OwnedRow):
    """An API key, of which only the hash is stored."""

    __tablename__ = "api_keys"

    name: Mapped[str]
    prefix: Mapped[str]
    secret_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[Any]]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


def _details_index(name: str) -> Index:
    """Return the index of what programs keep with rows."""
    operators = {"details": "jsonb_path_ops"}
    return Index(name, "details", postgresql_using="gin", postgresql_ops=operators)


class ConversationRow(OwnedRow):
    """A chat."""

    __tablename__ = "conversations"
    __table_args__ = (
        Index(None, "owner_id", "updated_at"),
        Index("ix_conversations_shared", "updated_at", postgresql_where=text("shared")),
        _details_index("ix_conversations_details"),
    )

    title: Mapped[str]
    shared: Mapped[bool] = mapped_column(server_default=false())
    """Whether others' questions may find what was said in it, while the operator lets people."""
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    next_position: Mapped[int] = mapped_column(default=0)
    n_messages: Mapped[int] = mapped_column(default=0)
    forked_from: Mapped[UUID | None]
    """The conversation that it was forked from, which may be gone."""
    forked_at: Mapped[UUID | None]
    """The last message of that one that it took along."""
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """What programs keep with it."""


class RunRow(WorkRow):
    """A chat turn or an evaluation."""

    __tablename__ = "runs"
    __table_args__ = (
        Index(
            "uq_runs_resumes_open",
            "resumes",
            unique=True,
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        _details_index("ix_runs_details"),
    )

    kind: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    conversation_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    profile: Mapped[str | None]
    parameters: Mapped[dict[str, Any]]
    asked: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    on_disconnect: Mapped[str] = mapped_column(server_default="cancel")
    resumes: Mapped[UUID | None] = mapped_column(index=True)
    """The run that began the turn which this one goes on with; it may be gone."""
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """What programs keep with it."""
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    receipt: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
    stopping: Mapped[str | None]
    """What it shall end as, for the lab that works on it to see."""


class EventRow(Base):
    """Something that happened in a run, and what of the same type came right after."""

    __tablename__ = "events"
    __table_args__ = {"postgresql_partition_by": "RANGE (run_id)"}  # noqa: RUF012 - SQLAlchemy's

    run_id: Mapped[UUID] = mapped_column(
        ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    later: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of each event after this one: microseconds from `created_at`, and its data."""


class UsageRow(Base):
    """What one generation cost; it stays when the run is deleted, for whoever keeps accounts."""

    __tablename__ = "usage"
    __table_args__ = (
        Index(None, "owner_id", "id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    run_id: Mapped[UUID | None]
    """The run it was for, which may be gone; None for a title."""
    model: Mapped[str]
    profile: Mapped[str]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    seconds: Mapped[float]
    """In the batch, without the wait for a place in it."""


class MessageRow(OwnedRow):
    """One turn of a conversation."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("conversation_id", "position"),)

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE")
    )
    position: Mapped[int]
    role: Mapped[str]
    name: Mapped[str | None]
    parts: Mapped[list[Any]]
    intent: Mapped[str | None]
    intent_confidence: Mapped[float | None]
    run_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("runs.id", ondelete="SET NULL"), index=True
    )


class MemoryRow(OwnedRow):
    """
    A turn with its embedding.

    The migration stores `embedding` PLAIN, in the row itself: reading vectors out of line costs
    an exact search some ten times as much. Its index is explained in `lab.db.nearest`.
    """

    __tablename__ = "memories"
    __table_args__ = (
        Index(None, "conversation_id", "owner_id", "position"),
        Index(None, "owner_id", "speaker"),
        Index(None, "owner_id", "embedding_model"),
        Index(
            "ix_memories_embedding_in_space",
            literal_column(EMBEDDING_IN_SPACE).label("in_space"),
            postgresql_using="hnsw",
            postgresql_ops={"in_space": "halfvec_cosine_ops"},
        ),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE")
    )
    message_id: Mapped[UUID] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), unique=True
    )
    position: Mapped[int]
    role: Mapped[str]
    name: Mapped[str | None]
    speaker: Mapped[str | None] = mapped_column(Computed("lower((name)::text)", persisted=True))
    """The name as it is searched: row-level security lets no index serve a call of `lower`."""
    text: Mapped[str]
    embedding: Mapped[FloatArray] = mapped_column(VECTOR(EMBEDDING_DIM), deferred=True)
    embedding_model: Mapped[str | None]
    """Signature of the model that made the embedding; unknown for those of before it was kept."""


class MemoryContextRow(Base):
    """The embedding of a turn together with those before it; read for few turns at once."""

    __tablename__ = "memory_contexts"
    __table_args__ = (Index(None, "owner_id", "embedding_model"),)

    memory_id: Mapped[UUID] = mapped_column(
        ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True
    )
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    embedding: Mapped[FloatArray] = mapped_column(VECTOR(EMBEDDING_DIM))
    embedding_model: Mapped[str | None]
    """As that of the memory."""


class MemoryTermRow(Base):
    """How often a word stands in a turn; a search by words reads the index alone."""

    __tablename__ = "memory_terms"
    __table_args__ = (
        Index(
            None,
            "owner_id",
            "term",
            "memory_id",
            postgresql_include=["conversation_id", "n_times", "n_terms"],
        ),
    )

    memory_id: Mapped[UUID] = mapped_column(
        ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True
    )
    term: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    conversation_id: Mapped[UUID]
    """Of the memory, which is gone together with it."""
    n_times: Mapped[int]
    n_terms: Mapped[int]
    """Words of the whole turn."""


class SummaryRow(OwnedRow):
    """What a stretch of a chat told; a job that is done twice is stored once."""

    __tablename__ = "summaries"
    __table_args__ = (
        UniqueConstraint("conversation_id", "level", "first_position"),
        CheckConstraint("level BETWEEN 1 AND 4", name="level"),
        CheckConstraint("first_position <= last_position", name="positions"),
    )

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE")
    )
    level: Mapped[int]
    first_position: Mapped[int]
    last_position: Mapped[int]
    style: Mapped[str]
    model: Mapped[str]
    text: Mapped[str]
    n_tokens: Mapped[int]
    said_at: Mapped[datetime]
    sources: Mapped[list["SummarySourceRow"]] = relationship(
        foreign_keys="SummarySourceRow.summary_id",
        order_by="SummarySourceRow.position",
        lazy="selectin",
        viewonly=True,
    )


class SummarySourceRow(Base):
    """One memory, or one summary of the level below, that a summary was made from."""

    __tablename__ = "summary_sources"
    __table_args__ = (
        CheckConstraint("num_nonnulls(memory_id, source_summary_id) = 1", name="one"),
    )

    summary_id: Mapped[UUID] = mapped_column(
        ForeignKey("summaries.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    """Index among the sources of the summary."""
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    memory_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("memories.id", ondelete="CASCADE"), index=True
    )
    source_summary_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("summaries.id", ondelete="CASCADE"), index=True
    )


class FactRow(OwnedRow):
    """A statement that a summary of level 1 was stored with, its embedding PLAIN as a memory's."""

    __tablename__ = "facts"
    __table_args__ = (
        UniqueConstraint("summary_id", "position"),
        Index(None, "owner_id", "key", "said_at"),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    summary_id: Mapped[UUID] = mapped_column(ForeignKey("summaries.id", ondelete="CASCADE"))
    position: Mapped[int]
    first_position: Mapped[int]
    """Of the summary, which is gone together with it; so are the next and `said_at`."""
    last_position: Mapped[int]
    about: Mapped[str]
    key: Mapped[str]
    """The `about` as it is compared."""
    text: Mapped[str]
    words: Mapped[str | None] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector('english'::regconfig, (text)::text)", persisted=True),
        deferred=True,
    )
    said_at: Mapped[datetime]
    embedding: Mapped[FloatArray] = mapped_column(VECTOR(EMBEDDING_DIM), deferred=True)
    embedding_model: Mapped[str]


class DocumentRow(OwnedRow):
    """A file whose text is searched by passage; a user has the same bytes once."""

    __tablename__ = "documents"
    __table_args__ = (UniqueConstraint("owner_id", "sha256"),)

    name: Mapped[str]
    media_type: Mapped[str]
    sha256: Mapped[str]
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    n_characters: Mapped[int]
    n_chunks: Mapped[int]
    embedding_model: Mapped[str]
    text: Mapped[str] = mapped_column(deferred=True)


class DocumentChunkRow(OwnedRow):
    """A passage with its embedding, stored PLAIN as that of a memory."""

    __tablename__ = "document_chunks"
    __table_args__ = (UniqueConstraint("document_id", "position"),)

    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    position: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    page: Mapped[int | None]
    text: Mapped[str]
    words: Mapped[str | None] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector('english'::regconfig, (text)::text)", persisted=True),
        deferred=True,
    )
    embedding: Mapped[FloatArray] = mapped_column(VECTOR(EMBEDDING_DIM), deferred=True)


class ScheduleRow(OwnedRow):
    """An evaluation that runs by the clock."""

    __tablename__ = "schedules"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    name: Mapped[str]
    cron: Mapped[str]
    evaluation: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    enabled: Mapped[bool] = mapped_column(default=True)
    last_run_at: Mapped[datetime | None]
    next_run_at: Mapped[datetime | None]


class EvalRunRow(WorkRow):
    """One execution of an evaluation notebook."""

    __tablename__ = "eval_runs"

    name: Mapped[str]
    notebook: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    status: Mapped[str]
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    executed_notebook: Mapped[str | None]
    schedule_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("schedules.id", ondelete="SET NULL"), index=True
    )
    cells_done: Mapped[int] = mapped_column(default=0)
    cells_total: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class FileRow(OwnedRow):
    """
    The bytes of a picture, of sound or of a file, which messages and images refer to.

    All three are stored, limited, checked, exported and deleted alike, so there is one table. A
    message keeps the id in its parts, and shows that something was there when the file is gone.
    """

    __tablename__ = "files"

    name: Mapped[str | None]
    media_type: Mapped[str]
    sha256: Mapped[str]
    n_bytes: Mapped[int]
    content: Mapped[bytes] = mapped_column(deferred=True)


class ImageRow(OwnedRow):
    """A picture that a model made; it goes with its bytes."""

    __tablename__ = "images"

    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), unique=True)
    source_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("images.id", ondelete="SET NULL"), index=True
    )
    prompt: Mapped[str]
    model: Mapped[str]
    parameters: Mapped[dict[str, Any]]


class ModelProfileRow(VersionedRow):
    """A model profile that a user made."""

    __tablename__ = "model_profiles"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    name: Mapped[str] = mapped_column(Computed("profile ->> 'id'::text", persisted=True))
    """The profile's id, which requests name."""
    profile: Mapped[dict[str, Any]]


class DynamicToolRow(VersionedRow):
    """A tool that was written for one user, found by what it does."""

    __tablename__ = "dynamic_tools"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    name: Mapped[str]
    description: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    code: Mapped[str]
    embedding: Mapped[FloatArray] = mapped_column(VECTOR(EMBEDDING_DIM), deferred=True)
    embedding_model: Mapped[str]
    approved_at: Mapped[datetime | None]


class StoreItemRow(OwnedRow):
    """A document that a program keeps for a user."""

    __tablename__ = "store_items"
    __table_args__ = (UniqueConstraint("owner_id", "namespace", "key"),)

    namespace: Mapped[list[str]] = mapped_column(ARRAY(String))
    key: Mapped[str]
    value: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class TodoRow(VersionedRow):
    """Something that is to be done."""

    __tablename__ = "todos"

    conversation_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    text: Mapped[str]
    status: Mapped[str]


class ResearchTaskRow(VersionedRow):
    """A question that is answered by research; two write it: who does it, and who cancels it."""

    __tablename__ = "research_tasks"

    conversation_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    question: Mapped[str]
    profile: Mapped[str | None]
    offline: Mapped[bool] = mapped_column(server_default=false())
    seed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    limits: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    run_id: Mapped[UUID | None]
    """The run that works on it, or did so last; it may be gone."""
    status: Mapped[str] = mapped_column(index=True)
    report: Mapped[str | None]
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]


class ResearchStepRow(OwnedRow):
    """One step of a research task."""

    __tablename__ = "research_steps"
    __table_args__ = (UniqueConstraint("task_id", "position"),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("research_tasks.id", ondelete="CASCADE"))
    position: Mapped[int]
    kind: Mapped[str]
    question: Mapped[str]
    status: Mapped[str]
    result: Mapped[str | None]
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]


class SearchResultRow(OwnedRow):
    """A page that a search of the web found."""

    __tablename__ = "search_results"

    step_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("research_steps.id", ondelete="CASCADE"), index=True
    )
    query: Mapped[str]
    provider: Mapped[str]
    position: Mapped[int]
    url: Mapped[str]
    title: Mapped[str]
    snippet: Mapped[str]
    text: Mapped[str | None]
    page_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("web_pages.id", ondelete="SET NULL"), index=True
    )
    failure: Mapped[str | None]


class ResearchCitationRow(OwnedRow):
    """A claim of a report and what proves it; a page that is deleted leaves the quote."""

    __tablename__ = "research_citations"
    __table_args__ = (UniqueConstraint("task_id", "position"),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("research_tasks.id", ondelete="CASCADE"))
    position: Mapped[int]
    number: Mapped[int]
    claim: Mapped[str]
    page_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("web_pages.id", ondelete="SET NULL"), index=True
    )
    url: Mapped[str]
    title: Mapped[str]
    quote: Mapped[str]
    start: Mapped[int]
    end: Mapped[int]
    sha256: Mapped[str]
    score: Mapped[float]
    verified: Mapped[bool]
    reason: Mapped[str | None]


class WebPageRow(OwnedRow):
    """
    A page of the web as it was read, with its snapshot; the same answer is stored once.

    `requested_url` is where it was asked for and `url` where it answered, so that replaying goes
    the same way.
    """

    __tablename__ = "web_pages"
    __table_args__ = (
        UniqueConstraint("owner_id", "requested_url", "url", "sha256"),
        Index(None, "owner_id", "url"),
    )

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))

    requested_url: Mapped[str]
    url: Mapped[str]
    status: Mapped[int]
    media_type: Mapped[str]
    title: Mapped[str | None]
    author: Mapped[str | None]
    published_on: Mapped[str | None]
    language: Mapped[str | None]
    text: Mapped[str]
    sha256: Mapped[str]
    n_bytes: Mapped[int]
    embedding_model: Mapped[str]
    read_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    """When it was read last; `created_at` is when it was read first."""
    warc: Mapped[bytes] = mapped_column(deferred=True)
    """One record of WARC, packed: those of several pages, one after the other, are a WARC file."""


class WebChunkRow(OwnedRow):
    """A passage of a page with its embedding, stored PLAIN as that of a memory."""

    __tablename__ = "web_chunks"
    __table_args__ = (UniqueConstraint("page_id", "position"),)

    page_id: Mapped[UUID] = mapped_column(ForeignKey("web_pages.id", ondelete="CASCADE"))
    position: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    text: Mapped[str]
    words: Mapped[str | None] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector('english'::regconfig, (text)::text)", persisted=True),
        deferred=True,
    )
    embedding: Mapped[FloatArray] = mapped_column(VECTOR(EMBEDDING_DIM), deferred=True)


OWNED: Final = tuple(table for table in Base.metadata.sorted_tables if "owner_id" in table.columns)
"""Tables whose rows belong to users."""
