"""
Copies of what every request reads, so that most requests need not ask the database.

One interface over two stores: Redis when one is set, so that processes share their copies, else,
and whenever Redis does not answer, this process's own memory. A store is not trusted: it may lose a
copy, or bring back one that was deleted. Every copy says at which moment of the database it was
read, and is used only when nothing of its owner has changed since then, as far as this process has
heard (`lab/db/changes.py`); without that ear nothing is copied at all.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from uuid import UUID

import structlog
from cashews import Cache as Store
from pydantic import BaseModel, TypeAdapter

from lab.db.cache_store import FAILURES, own_store, redis_place, shared_store, why
from lab.db.database import Database
from lab.schemas.cache_config import CacheConfig

T = TypeVar("T")

RETURN_S = 1.0
"""How often a Redis that was lost is asked again."""

log = structlog.get_logger(__name__)


class Entry(BaseModel):
    """A copy: whose it is, the moment of the database that it is of, and the value as JSON."""

    owner_id: UUID
    seen: int
    value: str


@dataclass
class CacheStats:
    """Since the start: answers by a copy, loads, and answers that Redis did not give."""

    hits: int = 0
    misses: int = 0
    errors: int = 0


@dataclass(frozen=True)
class _Question:
    """A question without an answer yet, and how much had been heard when it was put."""

    task: "asyncio.Task[tuple[str, bool]]"
    n_heard: int


class Cache:
    """
    Copies of rows, each of one owner.

    Parameters
    ----------
    config : CacheConfig
        Which store, and how long a copy lives.
    database : Database
        What is copied; it has to be `attended`, or nothing is.
    prefix : str
        What keys begin with.

    Attributes
    ----------
    stats : CacheStats
        Hits, misses and errors.
    """

    def __init__(self, config: CacheConfig, database: Database, prefix: str) -> None:
        self.stats = CacheStats()
        self._config = config
        self._database = database
        self._changes = database.changes
        self._prefix = prefix
        self._place = redis_place(config.url.get_secret_value()) if config.url else "this process"
        self._own, self._shared = own_store(config), shared_store(config)
        self._running: dict[str, _Question] = {}
        self._returning: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._changes.on_gone = self._start_forgetting
        if self._shared is not None:
            with self._heeding():
                await self._probe(self._shared)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._changes.on_gone = None
        if self._returning is not None:
            self._returning.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for store in self._stores():
            await store.close()

    @property
    def state(self) -> str:
        """Where copies lie now: `redis`, `process`, or `redis lost, process`."""
        if self._shared is None:
            return "process"
        return "redis lost, process" if self.is_lost else "redis"

    @property
    def is_lost(self) -> bool:
        """Whether a Redis is set and does not answer."""
        return self._returning is not None

    async def get(
        self,
        name: str,
        kind: TypeAdapter[T],
        load: Callable[[], Awaitable[T]],
        *,
        owner_of: Callable[[T], UUID],
        ttl_s: float | None = None,
    ) -> T:
        """
        Return a copy, or load the value; who asks for it meanwhile waits for the same answer.

        Parameters
        ----------
        name : str
            What it is, the same in every process. It holds the id of the owner, or the hash of a
            secret of theirs, never the secret.
        kind : TypeAdapter
            Writes and reads the value as JSON.
        load : callable
            Reads it from where it really is; what it raises is raised and not kept.
        owner_of : callable
            Whose the value is.
        ttl_s : float, optional
            Seconds that a copy lives, when that is less than the setting.
        """
        running = self._running.get(name)
        # A question from before a change may not answer those who ask after it.
        if running is None or running.n_heard != self._changes.n_heard or not self._is_listening:
            ends = min(ttl_s or self._config.ttl_s, self._config.ttl_s)

            async def loaded() -> str:
                return await self._load(name, kind, load, owner_of, ends)

            running = self._running[name] = self._ask(name, loaded)
        # Shielded: one who gives up must not take the answer away from the others.
        text, is_copy = await asyncio.shield(running.task)
        self.stats.hits += is_copy
        return kind.validate_json(text)

    async def drop(self, owner_id: UUID) -> None:
        """Believe no copy of an owner's rows from now on; for who has just changed them."""
        self._changes.note(owner_id, (await self._database.moment()).next - 1)
        store = self._store
        with self._heeding():
            # Others that share it hear of the change; they need not wait for that.
            while keys := list(await store.set_pop(_index(self._prefix, owner_id))):
                await store.delete_many(*keys)

    async def forget(self, owner_id: UUID) -> None:
        """Delete every byte of an owner, however many keys there are to look at."""
        for store in self._stores():
            with self._heeding():
                await _erase(store, self._prefix, owner_id)

    @property
    def _is_listening(self) -> bool:
        return self._changes.is_listening

    @property
    def _store(self) -> Store:
        return self._own if self._shared is None or self.is_lost else self._shared

    def _stores(self) -> list[Store]:
        """Return this process's own store, and the shared one where there is one."""
        return [self._own] if self._shared is None else [self._own, self._shared]

    def _ask(self, name: str, load: Callable[[], Awaitable[str]]) -> _Question:
        async def answer() -> tuple[str, bool]:
            if (copied := await self._read(name)) is not None:
                return copied, True
            self.stats.misses += 1
            return await load(), False

        task = self._start(answer())
        task.add_done_callback(lambda _: self._landed(name, task))
        return _Question(task, self._changes.n_heard)

    async def _read(self, name: str) -> str | None:
        if not self._is_listening:
            return None
        found = None
        with self._heeding():
            found = await _peek(self._store, _key(self._prefix, name))
        if found is None or not self._changes.allow(found.owner_id, found.seen):
            return None
        return found.value

    async def _load(
        self,
        name: str,
        kind: TypeAdapter[T],
        load: Callable[[], Awaitable[T]],
        owner_of: Callable[[T], UUID],
        ttl_s: float,
    ) -> str:
        """Load a value, keep a copy where that is safe, and return it as JSON."""
        if not self._is_listening:
            return kind.dump_json(await load()).decode()
        seen = (await self._database.moment()).seen
        value = await load()
        text = kind.dump_json(value).decode()
        await self._write(name, Entry(owner_id=owner_of(value), seen=seen, value=text), ttl_s)
        return text

    async def _write(self, name: str, entry: Entry, ttl_s: float) -> None:
        if not self._changes.allow(entry.owner_id, entry.seen):
            return
        store = self._store
        key, index = _key(self._prefix, name), _index(self._prefix, entry.owner_id)
        with self._heeding():
            # The index first: a copy that it lacks would be found by `forget` alone.
            await store.set_add(index, key, expire=self._config.ttl_s)
            await store.set(key, entry.model_dump_json(), expire=ttl_s)
            if not self._changes.allow(entry.owner_id, entry.seen):
                await store.delete_many(key, index)  # changed, or deleted, while it was written

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        """Go on when Redis fails, without it until it is back."""
        try:
            yield
        except FAILURES as error:
            self.stats.errors += 1
            if not self.is_lost:
                log.warning(
                    "cache lost",
                    place=self._place,
                    error=why(error),
                    advice="The lab works on with copies in this process; Redis is asked again.",
                )
                self._returning = self._start(self._return())

    async def _return(self) -> None:
        assert self._shared is not None, "only Redis can be lost"
        while True:
            await asyncio.sleep(RETURN_S)
            try:
                await self._probe(self._shared)
            except FAILURES:
                continue
            log.info("cache found again", place=self._place)
            self._returning = None
            return

    async def _probe(self, store: Store) -> None:
        """Write something: a Redis that is full or a replica answers, but takes nothing."""
        await store.set(f"{self._prefix}:probe", "", expire=1)

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def _start_forgetting(self, owner_id: UUID) -> None:
        self._start(self.forget(owner_id))

    def _landed(self, name: str, task: "asyncio.Task[Any]") -> None:
        if (running := self._running.get(name)) is not None and running.task is task:
            del self._running[name]
        if not task.cancelled():
            task.exception()  # seen, also when everybody who waited has gone


@asynccontextmanager
async def open_cache(config: CacheConfig, database: Database) -> AsyncIterator[Cache]:
    """
    Open the cache of a database; a Redis that does not answer is told and gone without.

    Raises
    ------
    ConfigError
        If the URL is not that of a Redis.
    """
    async with Cache(config, database, await _prefix(database)) as cache:
        yield cache


async def erase_shared(config: CacheConfig, database: Database, owner_id: UUID) -> str | None:
    """
    Delete every byte of an owner in Redis, for a command that has no cache of its own.

    Returns
    -------
    str or None
        What is left when Redis does not answer, and for how long; None when nothing is.
    """
    if config.url is None:
        return None
    place, store = redis_place(config.url.get_secret_value()), shared_store(config)
    assert store is not None, "a URL is set"
    try:
        await _erase(store, await _prefix(database), owner_id)
        return None
    except FAILURES as error:
        ends = f"they end by themselves, {config.ttl_s:g} s after they were made"
        return f"copies in the {place}, which does not answer ({why(error)}); {ends}"
    finally:
        await store.close()


async def _prefix(database: Database) -> str:
    """Return what keys begin with: what other databases have copied is not ours."""
    return f"lab:{await database.identity()}"


def _key(prefix: str, name: str) -> str:
    return f"{prefix}:copy:{name}"


def _index(prefix: str, owner_id: UUID) -> str:
    return f"{prefix}:names:{owner_id}"


async def _erase(store: Store, prefix: str, owner_id: UUID) -> None:
    async for key in store.scan(_key(prefix, "*")):
        entry = await _peek(store, key)
        # What cannot be read may be theirs too.
        if entry is None or entry.owner_id == owner_id:
            await store.delete(key)
    await store.delete(_index(prefix, owner_id))


async def _peek(store: Store, key: str) -> Entry | None:
    """Return what a store holds; what is damaged is nothing."""
    try:
        text = await store.get(key)
        return None if text is None else Entry.model_validate_json(text)
    except ValueError:  # no JSON, or no entry
        return None
