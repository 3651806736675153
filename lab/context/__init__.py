"""What the model sees: the window and its receipt."""

from lab.context.assembler import assemble
from lab.context.pieces import Budget, Candidate
from lab.context.ranking import relevance
from lab.context.words import role_meant, shared_words, words_of

__all__ = [
    "Budget",
    "Candidate",
    "assemble",
    "relevance",
    "role_meant",
    "shared_words",
    "words_of",
]
