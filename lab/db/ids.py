"""Identifiers of rows."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """
    Return a version 7 UUID: unique, and later ones sort after earlier ones.

    >>> new_id() < new_id()
    True
    """
    return uuid7()
