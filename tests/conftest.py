"""
Fixtures of every test: those of the modules below, one of each in a run; of servers, in a module.

database_server, database_url, database, owner, other_owner   see `tests/database.py`
api, endless_api, ann, bob                                    see `tests/api_server.py`
stack, endless                                                see `tests/stack.py`
"""

from tests.api_server import ann, api, api_app, bob, endless_api, endless_api_app
from tests.database import database, database_server, database_url, other_owner, owner
from tests.stack import endless, stack
from tests.workers import (
    pytest_configure,
    pytest_configure_node,
    pytest_keyboard_interrupt,
)

__all__ = [
    "ann",
    "api",
    "api_app",
    "bob",
    "database",
    "database_server",
    "database_url",
    "endless",
    "endless_api",
    "endless_api_app",
    "other_owner",
    "owner",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_keyboard_interrupt",
    "stack",
]
