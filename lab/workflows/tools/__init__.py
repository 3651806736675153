"""Tools that the lab runs itself when a model calls them."""

from lab.workflows.tools.tool import LabTool, ToolContext, ToolSource, Traits
from lab.workflows.tools.toolbox import ERROR, Outcome, Toolbox

__all__ = ["ERROR", "LabTool", "Outcome", "ToolContext", "ToolSource", "Toolbox", "Traits"]
