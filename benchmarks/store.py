"""
How fast memories are stored and found among very many: `python -m benchmarks.store`.

One user has 10⁵ turns, others have 10² to 10⁴. Measured are storing a turn with its embeddings;
what a window over all turns of that user takes, the question's embedding left out; and how many of
the ten nearest turns are found, beside a comparison of each. The peer is pgvector as its
documentation shows it: a table with the owner's id and an HNSW index, read with an iterative scan;
both find 200 turns of the same vectors.

Then more may come beside them: users of more turns (`--sizes 100 1000 10000 100000 1000000`), and
many with 10⁴ each (`--others 900000`). A million takes a quarter of an hour or more to store and
index.

Texts are of made words, as frequent as those of a language; vectors lie in clusters, as those of
sentences do, and have 384 numbers, padded to 768.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.random import Generator
from pgvector.psycopg import register_vector_async
from psycopg.types.json import Jsonb
from rich.progress import Progress, TimeElapsedColumn

from api.garbage import FrozenImports
from benchmarks.report import Row, report
from lab.config import load_settings
from lab.db.connection import conninfo
from lab.db.ids import new_id
from lab.db.nearest import Within, nearest
from lab.db.opening import running_database
from lab.db.recall import SEEDS
from lab.protocols import EMBEDDING_DIM, EmbeddingKind, EmbeddingPipeline, FloatArray
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.workflows.context import ChatContext
from lab.workflows.event_log import EventLog
from lab.workflows.given_history import GivenHistorySearch
from lab.workflows.holding import held
from lab.workflows.recording import Recorder
from lab.workflows.shared_talk import Shared
from lab.workflows.turns import Turns
from lab.workflows.window import build_window

DIM, N_TOPICS, N_VOCABULARY = 384, 500, 20_000
ENGLISH = (
    "we went to the market on Sunday and my sister bought fresh bread while it rained all day so I"
    " stayed in the old house near the river with her dog who likes to sleep under the table"
)
SIZES = (100, 1_000, 10_000, 100_000)
"""Turns of the owners."""
WINDOW_OVER = 100_000
"""Most turns of the owner whose windows are built; what is more comes beside them, later."""
OF_OTHERS = 10_000
"""Turns of each of the others."""
PER_CHAT = 100
AT_ONCE = 50_000
"""Turns that are made and copied together."""
N_QUESTIONS, N_STORED, TOP = 100, 200, 10
STORE_AIM_MS, WINDOW_AIM_MS, GROWTH_AIM, RECALL_AIM = 50.0, 60.0, 1.5, 0.98


class Talk:
    """
    Texts and vectors as people's turns have them.

    Parameters
    ----------
    random : Generator
        Where chance comes from.
    """

    def __init__(self, random: Generator) -> None:
        self._random = random
        syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
        self._words = np.array(
            ["".join(random.choice(syllables, random.integers(2, 4))) for _ in range(N_VOCABULARY)]
        )
        ranks = np.arange(N_VOCABULARY) + 50.0  # the most frequent words of a language say nothing
        self._frequency = (1 / ranks) / (1 / ranks).sum()
        spread = 1 / np.sqrt(np.arange(DIM) + 10.0)
        self._spread = spread / np.linalg.norm(spread)
        self._topics = self._noise(N_TOPICS)

    def texts(self, n: int, n_words: int = 14) -> list[str]:
        """Return texts of so many words."""
        drawn = self._random.choice(self._words, (n, n_words), p=self._frequency)
        return [" ".join(words) for words in drawn]

    def sayings(self, n: int) -> list[str]:
        """Return texts of thirty English words, for an embedder that knows these."""
        return [" ".join(words) for words in self._random.choice(ENGLISH.split(), (n, 30))]

    def questions(self, n: int) -> list[str]:
        """Return questions that hold two of the commonest words."""
        common = self._random.choice(self._words[:20], (n, 2))
        rare = self.texts(n, 4)
        return [
            f"Where did {' '.join(two)} {four}?" for two, four in zip(common, rare, strict=True)
        ]

    def vectors(self, n: int) -> FloatArray:
        """Return unit vectors of shape (n, 384)."""
        topics = self._topics[self._random.integers(N_TOPICS, size=n)]
        return _unit(topics + self._noise(n))

    def near(self, vectors: FloatArray) -> FloatArray:
        """Return unit vectors like those of questions about turns."""
        return _unit(vectors + 0.7 * self._noise(len(vectors)))

    def _noise(self, n: int) -> FloatArray:
        drawn = self._random.standard_normal((n, DIM), dtype=np.float32) * self._spread
        return drawn.astype(np.float32)


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def padded(vectors: FloatArray) -> FloatArray:
    """Return (N, 384) vectors as the lab stores them, (N, 768)."""
    return np.pad(vectors, ((0, 0), (0, EMBEDDING_DIM - DIM)))


class KnownEmbedding:
    """Vectors that are there already, so that no time is the embedder's."""

    signature = "bench@1"
    model: Model

    def __init__(self, like: EmbeddingPipeline) -> None:
        self.model = like.model
        self.vector = np.zeros(EMBEDDING_DIM, np.float32)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        kind: EmbeddingKind = "document",
        dimensions: int | None = None,
    ) -> FloatArray:
        """Return the vector that was laid down, for each text."""
        return np.repeat(self.vector[None], len(texts), axis=0)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the number of words."""
        return sum(self.token_counts(texts))

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words of each text."""
        return [len(text.split()) for text in texts]


@dataclass(frozen=True)
class Owner:
    """A user with turns; the vectors have shape (N, 384)."""

    id: UUID
    chats: list[UUID]
    memories: list[UUID]
    vectors: FloatArray

    @property
    def conversation_id(self) -> UUID:
        """The newest chat."""
        return self.chats[-1]

    def __len__(self) -> int:
        return len(self.memories)


# --- data -----------------------------------------------------------------------------------------

POST_TERMS = """
    INSERT INTO memory_terms (memory_id, term, owner_id, conversation_id, n_times, n_terms)
    SELECT id, lexeme, owner_id, conversation_id, cardinality(positions),
        sum(cardinality(positions)) OVER (PARTITION BY id)
    FROM memories, unnest(to_tsvector('english', text)) WHERE id BETWEEN %s AND %s
    """
FAST = (
    "SET session_replication_role = replica",  # keys are right: nothing need be looked up
    "SET synchronous_commit = off",
    "SET maintenance_work_mem = '6GB'",
    "ALTER SYSTEM SET max_wal_size = '4GB'",
    "SELECT pg_reload_conf()",
)
PLAIN_TABLE = (
    "CREATE TABLE IF NOT EXISTS plain (id uuid, owner_id uuid, embedding vector(768))",
    "ALTER TABLE plain ALTER COLUMN embedding SET STORAGE PLAIN",
    "CREATE INDEX IF NOT EXISTS plain_owner ON plain (owner_id)",
    "CREATE INDEX IF NOT EXISTS plain_hnsw ON plain USING hnsw (embedding vector_cosine_ops)",
)
"""The peer, whose vectors lie in the row as ours do."""
COPIES: dict[str, tuple[str, list[str]]] = {
    "users": ("id, name, is_admin, is_active, groups", ["uuid", "text", "bool", "bool", "jsonb"]),
    "conversations": (
        "id, owner_id, title, next_position, n_messages",
        ["uuid", "uuid", "text", "int4", "int4"],
    ),
    "messages": (
        "id, owner_id, conversation_id, position, role, parts",
        ["uuid", "uuid", "uuid", "int4", "text", "jsonb"],
    ),
    "memories": (
        "id, owner_id, conversation_id, message_id, position, role, text, embedding,"
        " embedding_model",
        ["uuid", "uuid", "uuid", "uuid", "int4", "text", "text", "vector", "text"],
    ),
    "memory_contexts": (
        "memory_id, owner_id, embedding, embedding_model",
        ["uuid", "uuid", "vector", "text"],
    ),
    "plain": ("id, owner_id, embedding", ["uuid", "uuid", "vector"]),
}


async def fill(
    connection: psycopg.AsyncConnection[Any],
    talk: Talk,
    n: int,
    tables: Sequence[str],
    advance: Callable[[int], None],
) -> Owner:
    """Make a user with so many turns, in chats of a hundred."""
    owner = Owner(new_id(), [], [], np.empty((n, DIM), np.float32))
    user = (owner.id, f"bench-{owner.id}", False, True, Jsonb([]))
    await copy_rows(connection, "users", [user])
    for first in range(0, n, AT_ONCE):
        part = owner.vectors[first : first + AT_ONCE]
        part[:] = talk.vectors(len(part))
        await fill_part(connection, owner, talk.texts(len(part)), part, tables)
        advance(len(part))
    return owner


async def fill_part(
    connection: psycopg.AsyncConnection[Any],
    owner: Owner,
    texts: Sequence[str],
    vectors: FloatArray,
    tables: Sequence[str],
) -> None:
    """Add turns of these texts and vectors, of shape (N, 384), to those of a user."""
    n = len(texts)
    chats = [new_id() for _ in range(-(-n // PER_CHAT))]
    ids, messages = [new_id() for _ in range(n)], [new_id() for _ in range(n)]
    places = [(chats[i // PER_CHAT], i % PER_CHAT) for i in range(n)]
    stored = padded(vectors)
    contexts = padded(_unit(vectors + np.roll(vectors, 1, axis=0)))
    role, model = Role.user.value, KnownEmbedding.signature
    rows: dict[str, Iterable[tuple[Any, ...]]] = {
        "conversations": ((chat, owner.id, "chat", PER_CHAT, PER_CHAT) for chat in chats),
        "messages": (
            (id, owner.id, *place, role, Jsonb([TextPart(text=text).model_dump()]))
            for id, place, text in zip(messages, places, texts, strict=True)
        ),
        "memories": (
            (ids[i], owner.id, chat, messages[i], position, role, texts[i], stored[i], model)
            for i, (chat, position) in enumerate(places)
        ),
        "memory_contexts": (
            (id, owner.id, vector, model) for id, vector in zip(ids, contexts, strict=True)
        ),
        "plain": ((id, owner.id, vector) for id, vector in zip(ids, stored, strict=True)),
    }
    for table in tables:
        await copy_rows(connection, table, rows[table])
    await connection.execute(POST_TERMS, [ids[0], ids[-1]])
    owner.memories.extend(ids)
    owner.chats.extend(chats)


async def copy_rows(
    connection: psycopg.AsyncConnection[Any], table: str, rows: Iterable[tuple[Any, ...]]
) -> None:
    """Add rows of the columns in `COPIES`."""
    columns, types = COPIES[table]
    async with connection.cursor() as cursor:
        into = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
        async with cursor.copy(into.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)


async def without_indexes(
    connection: psycopg.AsyncConnection[Any], tables: Sequence[str]
) -> list[str]:
    """Drop the indexes that are slow to fill row by row; return what makes them again."""
    found = await connection.execute(
        """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid IN (SELECT t::regclass FROM unnest(%s::text[]) t) AND NOT indisunique
        """,
        [[*tables, "memory_terms"]],
    )
    indexes = await found.fetchall()
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}".encode())
    return [statement for _, statement in indexes]


async def make(
    url: str, talk: Talk, sizes: Sequence[int], *, of_others: Sequence[int] = ()
) -> list[Owner]:
    """
    Add users to the lab's tables and the peer's, and index them.

    Returns
    -------
    list of Owner
        Those of so many turns; `of_others` come into the lab's tables alone, and nothing is kept.
    """
    async with await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True) as connection:
        await register_vector_async(connection)
        for statement in (*PLAIN_TABLE, *FAST):
            await connection.execute(statement.encode())
        ours = [table for table in COPIES if table not in ("users", "plain")]
        indexes = await without_indexes(connection, [*ours, "plain"])
        with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
            task = progress.add_task("Filling", total=sum(sizes) + sum(of_others))
            advance = partial(progress.advance, task)
            owners = [await fill(connection, talk, n, [*ours, "plain"], advance) for n in sizes]
            for n in of_others:
                await fill(connection, talk, n, ours, advance)
            for statement in [*indexes, "VACUUM ANALYZE"]:
                await executed(url, connection, statement, progress)
    return owners


async def executed(
    url: str, connection: psycopg.AsyncConnection[Any], statement: str, progress: Progress
) -> None:
    """Execute a statement, and show how far the building of an index has come."""
    task = progress.add_task(" ".join(statement.split()[:3]), total=None)
    running = asyncio.create_task(connection.execute(statement.encode()))
    async with await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True) as watching:
        while not (await asyncio.wait([running], timeout=1.0))[0]:
            rows = await watching.execute(
                "SELECT blocks_done, nullif(blocks_total, 0) FROM pg_stat_progress_create_index"
            )
            for done, total in await rows.fetchall():
                progress.update(task, completed=done, total=total)
    await running
    progress.update(task, completed=1, total=1)


# --- what is measured -----------------------------------------------------------------------------


def p95_ms(seconds: Sequence[float]) -> float:
    """Return the 95th percentile in milliseconds."""
    return float(np.percentile(seconds, 95) * 1000)


async def store_ms(runtime: Runtime, owner: Owner, talk: Talk) -> tuple[float, float]:
    """Return p95 of storing a turn, and of the part of it that the embedder takes."""
    kept, embedded = [], []
    async with runtime.pipelines.embedding() as embedding:
        turns = Turns(runtime.database, owner.id, owner.conversation_id, embedding)
        await turns.keep([ChatMessage(role=Role.user, content="The first is slow.")])
        for text in talk.sayings(N_STORED):
            started = time.perf_counter()
            await embedding.embed([text, f"{text}\n{text}\n{text}"])
            embedded.append(time.perf_counter() - started)
            started = time.perf_counter()
            await turns.keep([ChatMessage(role=Role.user, content=text)])
            kept.append(time.perf_counter() - started)
    return p95_ms(kept), p95_ms(embedded)


async def window_ms(runtime: Runtime, owner: Owner, talk: Talk) -> float:
    """Return p95 of choosing what the model sees for a question about all turns of an owner."""
    taken = []
    vectors = padded(talk.near(owner.vectors[:: len(owner.vectors) // N_QUESTIONS][:N_QUESTIONS]))
    async with AsyncExitStack() as stack:
        profile = runtime.pipelines.resolve("default")
        lease = partial(runtime.pipelines.chat, profile.model)
        chat = await stack.enter_async_context(held(lease))
        known = KnownEmbedding(await stack.enter_async_context(runtime.pipelines.embedding()))
        for vector, text in zip(vectors, talk.questions(N_QUESTIONS), strict=True):
            known.vector = vector
            message = ChatMessage(role=Role.user, content=text)
            turns = Turns(runtime.database, owner.id, owner.conversation_id, known)
            log = EventLog(owner.id, whole=False)
            context = ChatContext(
                log=log,
                turn=ChatTurn(conversation_id=owner.conversation_id, messages=[message]),
                profile=profile,
                parameters=GenerationParameters(seed=0),
                settings=runtime.settings,
                chat=chat,
                embedding=known,
                stores=partial(runtime.database.stores, owner.id),
                shared=Shared(runtime.database, owner.id),
                turns=turns,
                recorder=Recorder(runtime.database, log, turns, profile),
                resumed=None,
                search_given=GivenHistorySearch(),
                breaker=runtime.breakers.of("model", profile.model),
                toolbox=runtime.toolbox,
            )
            started = time.perf_counter()
            await build_window(context, [])
            taken.append(time.perf_counter() - started)
    return p95_ms(taken[N_QUESTIONS // 10 :])  # the first fill caches


@dataclass(frozen=True)
class Search:
    """How a search of 200 turns fared: p95 and the part of the ten nearest that it found."""

    p95_ms: float
    recall: float

    def __str__(self) -> str:
        return f"p95 {self.p95_ms:.1f} ms, recall@{TOP} {self.recall:.3f}"


async def by_lab(runtime: Runtime, owner: Owner, queries: FloatArray) -> Search:
    """Search as the lab does."""
    taken, found = [], []
    within = Within(owner.id, None, len(owner))
    for query in padded(queries):
        started = time.perf_counter()
        async with runtime.database.stores(owner.id) as stores:
            session = stores.memories._session
            ids = await nearest(session, within, query, KnownEmbedding.signature, SEEDS)
        taken.append(time.perf_counter() - started)
        found.append(ids)
    return Search(p95_ms(taken), recall(owner, queries, found))


@dataclass(frozen=True)
class Measured:
    """What was measured so far, told as it comes."""

    rows: list[Row] = field(default_factory=list)
    figures: dict[str, dict[str, str]] = field(default_factory=dict)

    def row(self, name: str, value: float, aim: float, unit: str = "") -> None:
        """Add a row; recall is the one without a unit, of which more is better."""
        self.rows.append(Row(name, value, aim, unit, more_is_better=not unit))
        print(f"{name}: {value:.3g} {unit}", file=sys.stderr)

    def search(self, n: int, lab: Search, peer: Search) -> None:
        """Add how both searched among so many turns."""
        self.row(f"recall@{TOP}, {n:,} turns", lab.recall, RECALL_AIM)
        self.figures[f"search, {n:,} turns"] = {
            "lab": str(lab),
            "pgvector": str(peer),
            "p95, lab to pgvector": f"{lab.p95_ms / peer.p95_ms:.2f} ×",
        }
        print(f"{n:,} turns: lab {lab}, pgvector {peer}", file=sys.stderr)


PLAIN = "SELECT id FROM plain WHERE owner_id = %s ORDER BY embedding <=> %s LIMIT %s"


async def by_pgvector(url: str, owner: Owner, queries: FloatArray) -> Search:
    """Search the peer's table."""
    taken, found = [], []
    async with await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True) as connection:
        await register_vector_async(connection)
        await connection.execute(f"SET hnsw.ef_search = {SEEDS}".encode())
        await connection.execute("SET hnsw.iterative_scan = relaxed_order")
        for query in padded(queries):
            started = time.perf_counter()
            rows = await connection.execute(PLAIN, [owner.id, query, SEEDS])
            ids = [id for (id,) in await rows.fetchall()]
            taken.append(time.perf_counter() - started)
            found.append(ids)
    return Search(p95_ms(taken), recall(owner, queries, found))


def recall(owner: Owner, queries: FloatArray, found: Sequence[Sequence[UUID]]) -> float:
    """Return the part of the ten nearest turns that was found, with equally near ones as good."""
    places = {id: i for i, id in enumerate(owner.memories)}
    parts = []
    for query, ids in zip(queries, found, strict=True):
        similarity = owner.vectors @ query
        tenth = np.partition(similarity, -TOP)[-TOP]
        parts.append(sum(similarity[places[id]] >= tenth for id in ids) / TOP)
    return float(np.mean(parts))


async def measure(url: str, runtime: Runtime, sizes: Sequence[int], n_others: int) -> Measured:
    """Fill an empty, migrated database, and return what was measured in it."""
    talk, measured = Talk(np.random.default_rng(0)), Measured()
    owners = await make(url, talk, [n for n in sizes if n <= WINDOW_OVER])
    gc.freeze()  # what the benchmark holds is no garbage of the lab's
    await measure_searches(url, runtime, talk, owners, measured)
    largest = max(owners, key=len)
    stored, embedded = await store_ms(runtime, largest, talk)
    measured.row("store a turn, p95", stored, STORE_AIM_MS, "ms")
    measured.figures["store a turn"] = {
        "lab": f"p95 {stored:.1f} ms, of which the embedder {embedded:.1f} ms",
        "pgvector": "",
        "p95, lab to pgvector": "",
    }
    alone = await window_ms(runtime, largest, talk)
    measured.row(f"window over {len(largest):,} turns, p95", alone, WINDOW_AIM_MS, "ms")
    larger = [n for n in sizes if n > WINDOW_OVER]
    of_others = [OF_OTHERS] * (n_others // OF_OTHERS)
    if larger or of_others:
        owners = await make(url, talk, larger, of_others=of_others)
        gc.freeze()
        await measure_searches(url, runtime, talk, owners, measured)
        beside = await window_ms(runtime, largest, talk)
        name = f"the same beside {sum(larger) + sum(of_others):,} turns of others"
        measured.row(name, beside / alone, GROWTH_AIM, "×")
    return measured


async def measure_searches(
    url: str, runtime: Runtime, talk: Talk, owners: Sequence[Owner], measured: Measured
) -> None:
    """Search the turns of each owner, by the lab and by the peer."""
    for owner in owners:
        queries = talk.near(owner.vectors[:: -(-len(owner) // N_QUESTIONS)])
        measured.search(
            len(owner),
            await by_lab(runtime, owner, queries),
            await by_pgvector(url, owner, queries),
        )


async def measure_here(sizes: Sequence[int], n_others: int) -> Measured:
    """Measure in a database of its own."""
    with TemporaryDirectory(prefix="lab-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = load_settings(environ={"LAB_DATA_FOLDER": folder, "LAB_DATABASE_PORT": "18433"})
        async with (
            open_runtime(settings, FrozenImports()) as runtime,
            running_database(settings) as url,
        ):
            return await measure(url, runtime, sizes, n_others)


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.store", description="Storing and finding very many memories."
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="turns of the owners that are searched"
    )
    parser.add_argument(
        "--others", type=int, default=0, help="turns of other users beside, 14 GiB a million"
    )
    given = parser.parse_args()
    if min(given.sizes) > WINDOW_OVER:
        parser.error(f"one of --sizes must be at most {WINDOW_OVER:,}: windows are built over it")
    measured = asyncio.run(measure_here(given.sizes, given.others))
    return 0 if report("store", measured.rows, measured.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
