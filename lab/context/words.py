"""What a question's words say: whom it means, and which turns share them."""

import re
from collections import Counter
from collections.abc import Sequence
from math import log

import numpy as np

from lab.protocols import FloatArray
from lab.schemas.role import Role

_K1, _B = 1.2, 0.4  # turns are short: their length says little
_FIRST_PERSON = {"i", "me", "my", "mine", "myself", "we", "us", "our", "ours"}
_SECOND_PERSON = {"you", "your", "yours", "yourself"}


def words_of(text: str) -> list[str]:
    """
    Return the words of a text.

    >>> words_of("Where's Ann?")
    ['where', 's', 'ann']
    """
    return re.findall(r"\w+", text.casefold())


def role_meant(question: str) -> Role | None:
    """
    Return whose words a question asks for, where it names nobody.

    >>> role_meant("Where do I live?"), role_meant("What did you say?"), role_meant("Why?")
    (<Role.user: 'user'>, <Role.assistant: 'assistant'>, None)
    """
    words = words_of(question)
    if not _FIRST_PERSON.isdisjoint(words):
        return Role.user
    return None if _SECOND_PERSON.isdisjoint(words) else Role.assistant


def shared_words(question: Sequence[str], turns: Sequence[Sequence[str]]) -> FloatArray:
    """
    Return the BM25 score of each turn.

    Parameters
    ----------
    question : sequence of str
        Its words.
    turns : sequence of sequences of str
        The words of N turns.

    Returns
    -------
    array of shape (N,)

    References
    ----------
    Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009.
    """
    counts = [Counter(words) for words in turns]
    lengths = np.array([len(words) for words in turns], dtype=np.float32)
    norm = _K1 * (1 - _B + _B * lengths / max(1.0, lengths.mean()))
    score = np.zeros(len(turns), dtype=np.float32)
    for word in dict.fromkeys(question):
        n_times = np.array([count[word] for count in counts], dtype=np.float32)
        n_with = np.count_nonzero(n_times)
        rarity = log(1 + (len(turns) - n_with + 0.5) / (n_with + 0.5))
        score += rarity * n_times * (_K1 + 1) / (n_times + norm)
    return score
