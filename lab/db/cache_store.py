"""Where copies lie: in this process, or in a Redis that others share."""

import redis
from cashews import Cache as CashewsCache
from cashews.exceptions import CacheError
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from lab.errors import ConfigError, ServiceError
from lab.schemas.cache_config import CacheConfig

FAILURES = (CacheError, RedisError, OSError, TimeoutError)
"""What is raised when a store does not do as it is told."""

SWEEP_S = 10
"""How often old copies in this process are thrown away."""


def own_store(config: CacheConfig) -> CashewsCache:
    """Return a store in this process."""
    store = CashewsCache()
    store.setup("mem://", size=config.max_entries, check_interval=SWEEP_S)
    return store


def shared_store(config: CacheConfig) -> CashewsCache | None:
    """Return the store in Redis, or nothing when none is set; it connects when it is used."""
    if config.url is None:
        return None
    store = CashewsCache()
    store.setup(
        config.url.get_secret_value(),
        suppress=False,  # what fails is told: the lab decides what follows
        pickle_type="json",  # whoever can write there must not run code here
        check_repr=False,
        client_name="llm-ml-lab",
        max_connections=20,
        socket_timeout=config.timeout_s,
        socket_connect_timeout=config.timeout_s,
        wait_for_connection_timeout=config.timeout_s,
        retry=AsyncRetry(NoBackoff(), 0),
    )
    return store


def redis_place(url: str) -> str:
    """
    Return where a Redis is, without its password.

    Raises
    ------
    ConfigError
        If that is not the URL of a Redis.

    >>> redis_place("redis://:secret@127.0.0.1:6379/2")
    'Redis at 127.0.0.1:6379, database 2'
    """
    try:
        parts = parse_url(url)
        if not url.startswith(("redis://", "rediss://")):
            raise ValueError
    except ValueError:
        # Neither the URL nor the message is shown: both may hold the password.
        raise ConfigError(
            "LAB_CACHE_URL is not the URL of a Redis; write `redis://:PASSWORD@HOST:PORT/NUMBER` "
            "(`rediss://` for TLS), with special characters as %XX."
        ) from None
    host, port = parts.get("host", "localhost"), parts.get("port", 6379)
    return f"Redis at {host}:{port}, database {parts.get('db', 0)}"


def describe(config: CacheConfig) -> str:
    """
    Ask the configured Redis for its version; return that and its place.

    Raises
    ------
    ConfigError
        If the URL is wrong.
    ServiceError
        If it does not answer.
    """
    if config.url is None:
        return "in each process; LAB_CACHE_URL is not set"
    url = config.url.get_secret_value()
    place = redis_place(url)
    timeouts = {"socket_timeout": config.timeout_s, "socket_connect_timeout": config.timeout_s}
    try:
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts) as client:
            version = client.info("server")["redis_version"]
    except FAILURES as error:
        raise ServiceError(
            f"The {place} does not answer ({why(error)}); the lab works on with copies in each "
            "process. Start it, or correct LAB_CACHE_URL."
        ) from error
    return f"{place}, version {version}"


def why(error: BaseException) -> str:
    """Return what went wrong in Redis' own words."""
    # The caches' own error says nothing. Redis' says why; its cause may be that EXEC failed, too.
    reported = (error.__cause__ or error) if isinstance(error, CacheError) else error
    return str(reported).rstrip(".") or type(reported).__name__
