"""What is asked, with its embedding."""

from lab.protocols import EmbeddingPipeline, FloatArray


class Question:
    """
    A question that several searches look for the answer to.

    Parameters
    ----------
    text : str
        What is asked.
    embedding : EmbeddingPipeline
        The one that made what is searched findable.
    """

    def __init__(self, text: str, embedding: EmbeddingPipeline) -> None:
        self.text = text
        self.embedding = embedding
        self._vector: FloatArray | None = None

    async def vector(self) -> FloatArray:
        """Return its embedding, of shape (768,); it is made when it is first asked for."""
        if self._vector is None:
            (self._vector,) = await self.embedding.embed([self.text], kind="query")
        return self._vector
