"""What the database reports, in the lab's errors."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from lab.errors import ConflictError, DatabaseError, InputError, NotFoundError


@contextmanager
def translated(place: str) -> Iterator[None]:
    """
    Raise the lab's error for what the database reports in the block.

    Parameters
    ----------
    place : str
        Where the database is, for people.
    """
    try:
        yield
    except IntegrityError as error:
        raise _integrity(error) from error
    except DataError as error:
        raise InputError(_unfit(_words(error))) from error
    except UnicodeEncodeError as error:
        raise InputError(f"A text is not valid Unicode: {error.reason}.") from error
    except (DBAPIError, errors.OperationalError, errors.InterfaceError) as error:
        if not _is_lost(error):
            raise
        raise DatabaseError(
            f"The {place} does not answer, or all connections to it are busy; nothing of this "
            "step was stored. Try again, and see `lab status` when it stays away."
        ) from error


@contextmanager
def heeded_cancellation() -> Iterator[None]:
    """
    Raise a cancellation that was lost in the block.

    In Python 3.11 `asyncio.wait_for`, under psycopg's pool, drops a cancellation that arrives
    together with the result; the task would go on for a client who has left.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def _is_lost(error: DBAPIError | errors.Error) -> bool:
    """Return whether the connection or the server is gone, rather than the statement wrong."""
    reported = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(reported, (errors.OperationalError, errors.InterfaceError))


def _integrity(error: IntegrityError) -> Exception:
    if isinstance(error.orig, errors.UniqueViolation):
        return ConflictError(f"That is there already: {_words(error)}")
    if isinstance(error.orig, errors.ForeignKeyViolation):
        return NotFoundError("row that this one belongs to", _words(error))
    return InputError(f"The database refuses a value: {_words(error)}")


def _unfit(words: str) -> str:
    """
    Return what is wrong with a value that the database does not take.

    >>> _unfit("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    'A text holds a NUL character, which cannot be stored or searched; send it without.'
    """
    if "NUL (0x00)" in words or r"\u0000" in words:
        return "A text holds a NUL character, which cannot be stored or searched; send it without."
    return f"The database cannot store a value: {words}"


def _words(error: DBAPIError) -> str:
    """Return PostgreSQL's own words, without the statement."""
    if isinstance(error.orig, errors.Error):
        return error.orig.diag.message_detail or str(error.orig).splitlines()[0]
    return str(error.orig)
