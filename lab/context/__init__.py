"""What the model sees: the window and its receipt."""

from lab.context.assembler import Window, assemble
from lab.context.pieces import Budget, Candidate, Digest
from lab.context.ranking import relevance
from lab.context.words import role_meant, shared_words, words_of

__all__ = [
    "Budget",
    "Candidate",
    "Digest",
    "Window",
    "assemble",
    "relevance",
    "role_meant",
    "shared_words",
    "words_of",
]
