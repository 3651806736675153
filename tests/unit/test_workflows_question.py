from collections.abc import Sequence

import numpy as np

from lab.protocols import EmbeddingKind, FloatArray
from lab.schemas.model import Model
from lab.schemas.task import Task
from lab.workflows.question import Question


class Recorder:
    """Embeds, and remembers what it was asked to."""

    signature = "recorder@1"
    model = Model(id="recorder", task=Task.embedding, source="here")

    def __init__(self) -> None:
        self.embedded: list[tuple[str, EmbeddingKind]] = []

    async def embed(
        self,
        texts: Sequence[str],
        *,
        kind: EmbeddingKind = "document",
        dimensions: int | None = None,
    ) -> FloatArray:
        self.embedded += [(text, kind) for text in texts]
        return np.ones((len(texts), 768), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(self.token_counts(texts))

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


async def test_a_question_is_embedded_once_and_only_when_a_search_needs_it() -> None:
    embedding = Recorder()
    question = Question("Who is it?", embedding)
    assert embedding.embedded == []

    first, second = await question.vector(), await question.vector()

    assert embedding.embedded == [("Who is it?", "query")]
    assert first.shape == (768,)
    np.testing.assert_array_equal(first, second)
