"""
Fixtures of every test.

stack       the whole lab, started once by `lab up` (see `tests/stack.py`)
"""

from tests.stack import stack

__all__ = ["stack"]
