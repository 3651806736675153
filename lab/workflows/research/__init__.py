"""
Research: a question answered by pages of the web, with citations that are verified.

    plan -> search each -> read each -> analyse each -> synthesise -> verify

`Research` is its face; each step is a module of the same name, and `graph` ties them together.
"""

from lab.workflows.research.of_owner import OwnersResearch
from lab.workflows.research.service import Research

__all__ = ["OwnersResearch", "Research"]
