"""What the model sees: the window and its receipt."""

from lab.context.assembler import assemble
from lab.context.passages import cut
from lab.context.pieces import (
    Budget,
    Candidate,
    Citation,
    Claim,
    Digest,
    Source,
    documents,
    facts,
    memories,
    summaries,
)
from lab.context.ranking import alone, best, joined, relevance
from lab.context.words import role_meant, shared_words, words_of

__all__ = [
    "Budget",
    "Candidate",
    "Citation",
    "Claim",
    "Digest",
    "Source",
    "alone",
    "assemble",
    "best",
    "cut",
    "documents",
    "facts",
    "joined",
    "memories",
    "relevance",
    "role_meant",
    "shared_words",
    "summaries",
    "words_of",
]
