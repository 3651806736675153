"""What happens on a turn: LangGraph graphs, run with typed context and streamed events."""

from lab.workflows.composer import Composer, compose_workflow, initialize_composer
from lab.workflows.execution import execute_workflow

__all__ = ["Composer", "compose_workflow", "execute_workflow", "initialize_composer"]
