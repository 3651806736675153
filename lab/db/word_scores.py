"""
Score texts by the words that they share with a question, where their words lie beside them.

For passages and facts, which are all of about one length; turns have postings (`lab.db.recall`).

References
----------
Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_K1: Final = 1.2  # of BM25; the texts are of one length, which therefore says nothing
_MOST_SOUGHT: Final = 64
"""Words that are looked for in each text; for more, all words of a text are read."""
_LEXEMES = text(
    "SELECT lexeme FROM unnest(to_tsvector('english', left(CAST(:question AS text), 10000)))"
)


async def words_asked(session: AsyncSession, question: str) -> dict[str, Any]:
    """Return what is bound in `word_scores`: the words of a question's first 10,000 characters."""
    # PostgreSQL takes no NUL in a text.
    asked = {"question": question.replace("\x00", " ")}
    lexemes = list(await session.scalars(_LEXEMES, asked))
    return {
        "lexemes": lexemes,
        "any_of": _any_of(lexemes) if len(lexemes) <= _MOST_SOUGHT else None,
    }


def word_scores(texts: str) -> str:
    """
    Return the parts of a WITH clause that score texts: `worded`, with `id` and `score`.

    Parameters
    ----------
    texts : str
        A SELECT of all that is searched, with the columns `id` and `words` (tsvector).
    """
    # By IS TRUE the words asked for are hashed: a join with them is planned without knowing how
    # many there are, and may compare each with each word of each text.
    return f"""
    size AS (
        SELECT count(*)::float8 AS n FROM ({texts}) AS t
    ), posted AS (
        SELECT t.id, cardinality(w.positions) AS n_times,
            count(*) OVER (PARTITION BY w.lexeme COLLATE "C") AS n_with
        FROM ({texts}) AS t, unnest(t.words) AS w
        WHERE (CAST(:any_of AS text) IS NULL OR t.words @@ CAST(:any_of AS tsquery))
            AND (w.lexeme IN (SELECT unnest(CAST(:lexemes AS text[])))) IS TRUE
    ), worded AS (
        SELECT id, sum(
            ln(1 + (n - n_with + 0.5) / (n_with + 0.5)) * n_times * {_K1 + 1} / (n_times + {_K1})
        )::float8 AS score
        FROM posted, size GROUP BY id
    )
    """


def _any_of(lexemes: Sequence[str]) -> str:
    r"""
    Return a tsquery that finds any of the words.

    >>> _any_of(["canari", "o'neil", "c:\\x"])
    "'canari' | 'o''neil' | 'c:\\\\x'"
    """
    quoted = (lexeme.replace("\\", r"\\").replace("'", "''") for lexeme in lexemes)
    return " | ".join(f"'{lexeme}'" for lexeme in quoted)
