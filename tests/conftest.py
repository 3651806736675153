"""
Fixtures of every test.

stack       the whole lab, started once by `lab up` (see `tests/stack.py`)
endless     another, whose model never ends an answer
"""

from tests.stack import endless, stack

__all__ = ["endless", "stack"]
