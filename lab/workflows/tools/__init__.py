"""Tools that the lab runs itself when a model calls them."""

from lab.workflows.tools.tool import LabTool, ToolContext, ToolSource, Traits
from lab.workflows.tools.toolbox import Outcome, Toolbox

__all__ = ["LabTool", "Outcome", "ToolContext", "ToolSource", "Toolbox", "Traits"]
