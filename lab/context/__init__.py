"""What the model sees: the window and its receipt."""

from lab.context.assembler import Window, assemble
from lab.context.pieces import Budget, Candidate

__all__ = ["Budget", "Candidate", "Window", "assemble"]
