"""The faces of the lab in a notebook and in Voilà; they reach it only through its client."""

from lab.widgets.chat import ChatDashboard
from lab.widgets.memory import MemoryMonitor
from lab.widgets.research import ResearchDashboard

__all__ = ["ChatDashboard", "MemoryMonitor", "ResearchDashboard"]
