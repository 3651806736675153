"""Identifiers of rows."""

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """
    Return a version 7 UUID: unique, and later ones sort after earlier ones.

    >>> new_id() < new_id()
    True
    """
    return uuid7()


def first_id(moment: datetime) -> UUID:
    """
    Return what sorts before every id made from a moment on, and after those made earlier.

    >>> from datetime import UTC
    >>> first_id(datetime(2026, 11, 1, tzinfo=UTC))
    UUID('01a19467-e800-0000-0000-000000000000')
    """
    return UUID(int=round(moment.timestamp() * 1000) << 80)
