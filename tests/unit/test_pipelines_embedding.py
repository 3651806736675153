import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from lab.errors import ModelLoadError, UnavailableError
from lab.pipelines import embed_pipeline
from lab.pipelines.catalog import MINILM, Catalog, minilm_folder
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.load import load_embedding
from lab.protocols import FloatArray
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig

TEXTS = [
    "My dog is called Zamiko.",
    "",
    "Wie heißt der Hund?\n\n  It is   raining.",
    "facts about people, pets and places; " * 20,
    "42",
]


@pytest.fixture(scope="module")
async def minilm() -> AsyncIterator[SentenceEmbedding]:
    config = EmbeddingConfig(batch_size=4)
    pipeline = load_embedding(Catalog(ChatConfig(), config).embedding, config)
    yield pipeline
    pipeline.close()


def reference(pipeline: SentenceEmbedding, texts: list[str]) -> FloatArray:
    vectors: FloatArray = pipeline._network.encode(texts, normalize_embeddings=True)
    return vectors


async def test_vectors_are_those_of_sentence_transformers(minilm: SentenceEmbedding) -> None:
    vectors = await embed_pipeline(minilm, TEXTS)

    assert vectors.shape == (len(TEXTS), 768)
    assert vectors.dtype == np.float32
    assert not vectors[:, 384:].any()
    cosines = (vectors[:, :384] * reference(minilm, TEXTS)).sum(axis=1)
    assert cosines.min() >= 0.9999
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


async def test_the_end_of_a_long_text_counts(minilm: SentenceEmbedding) -> None:
    talk = "We talked about the weather and the garden. " * 60
    fact = "Zamiko the dog lives in Belora."

    plain, told, query = await minilm.embed([talk, talk + fact, fact])

    assert float(told @ query) > float(plain @ query) + 0.02


async def test_a_long_text_is_the_mean_of_its_windows(minilm: SentenceEmbedding) -> None:
    words = " ".join(["garden"] * 254 + ["weather"] * 100)

    (vector,) = await minilm.embed([words])

    parts = reference(minilm, ["garden " * 254, "weather " * 100])
    mean = parts.sum(axis=0) / np.linalg.norm(parts.sum(axis=0))
    assert float(vector[:384] @ mean) >= 0.9999


async def test_tokens_are_counted_text_by_text(minilm: SentenceEmbedding) -> None:
    texts = ["One.", "", "My dog is called Bo.", "word " * 600]

    counts = minilm.token_counts(texts)

    assert counts[:3] == [4, 2, 8]
    assert counts[3] > 600
    assert counts == [minilm.count_tokens([text]) for text in texts]


async def test_calls_that_come_together_get_their_own_vectors(minilm: SentenceEmbedding) -> None:
    alone = await minilm.embed(TEXTS)

    together = await asyncio.gather(*(minilm.embed([text]) for text in TEXTS))

    assert np.concatenate(together) == pytest.approx(alone, abs=1e-5)


async def test_a_bad_text_fails_its_own_caller_only(minilm: SentenceEmbedding) -> None:
    answers = await asyncio.gather(
        *(minilm.embed([text]) for text in ("a dog", "half a \ud800 pair", "a cat")),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [np.ndarray, UnavailableError, np.ndarray]
    assert "could not embed" in str(answers[1])


async def test_a_long_text_holds_nobody_up(minilm: SentenceEmbedding) -> None:
    long = asyncio.create_task(minilm.embed(["word " * 100_000]))
    await asyncio.sleep(0.5)

    short = await minilm.embed(["a dog"])

    assert short.any()
    assert not long.done()
    long.cancel()
    assert (await minilm.embed(["a cat"])).any()


async def test_no_text_gives_no_vector(minilm: SentenceEmbedding) -> None:
    assert (await minilm.embed([])).shape == (0, 768)


@pytest.mark.parametrize("error", [RuntimeError("no memory"), MemoryError()])
async def test_a_failed_embedding_raises(
    minilm: SentenceEmbedding, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(minilm._network, "forward", fail)
        with pytest.raises(UnavailableError, match="could not embed"):
            await minilm.embed(["x"])

    assert (await minilm.embed(["x"])).any()


async def test_a_vector_that_is_not_finite_is_an_error(
    minilm: SentenceEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(windows: list[list[int]]) -> FloatArray:
        return np.zeros((len(windows), 384), np.float32)

    with monkeypatch.context() as patch:
        patch.setattr(minilm, "_forward", empty)
        with pytest.raises(UnavailableError, match="empty or not finite"):
            await minilm.embed(["x"])


def test_weights_that_are_not_the_official_ones_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder(), folder)
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    config = EmbeddingConfig()
    model = Catalog(ChatConfig(), config).embedding.model_copy(update={"source": str(folder)})

    with pytest.raises(ModelLoadError, match="SHA-256"):
        load_embedding(model, config)


def test_the_catalog_names_the_packaged_model() -> None:
    assert Catalog(ChatConfig(), EmbeddingConfig()).embedding.id == MINILM
