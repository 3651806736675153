import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import (
    BertConfig,
    DistilBertConfig,
    PretrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from lab.errors import InputError, ModelLoadError, UnavailableError
from lab.pipelines import embed_pipeline
from lab.pipelines.catalog import MINILM, Catalog, minilm_folder
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.load import load_embedding
from lab.protocols import FloatArray
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from tests.tiny_bert import save_tiny_bert, save_tiny_encoder

TEXTS = [
    "My dog is called Zamiko.",
    "",
    "Wie heißt der Hund?\n\n  It is   raining.",
    "facts about people, pets and places; " * 20,
    "42",
]


def load(**settings: Any) -> SentenceEmbedding:
    config = EmbeddingConfig.model_validate({"device": "cpu", **settings})
    return load_embedding(Catalog(ChatConfig(), config).embedding, config)


@contextmanager
def loaded(**settings: Any) -> Iterator[SentenceEmbedding]:
    pipeline = load(**settings)
    yield pipeline
    pipeline.close()


@pytest.fixture(scope="module", params=["onnx", "torch"])
async def minilm(request: pytest.FixtureRequest) -> AsyncIterator[SentenceEmbedding]:
    with loaded(batch_size=4, engine=request.param) as pipeline:
        yield pipeline


@lru_cache
def plain(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def reference(folder: Path, texts: Sequence[str], **options: Any) -> FloatArray:
    vectors: FloatArray = plain(folder).encode(list(texts), normalize_embeddings=True, **options)
    return vectors


def cosines(vectors: FloatArray, others: FloatArray) -> FloatArray:
    found: FloatArray = (vectors[:, : others.shape[1]] * others).sum(axis=1)
    return found


async def test_vectors_are_those_of_sentence_transformers(minilm: SentenceEmbedding) -> None:
    vectors = await embed_pipeline(minilm, TEXTS)

    assert vectors.shape == (len(TEXTS), 768)
    assert vectors.dtype == np.float32
    assert not vectors[:, 384:].any()
    assert cosines(vectors, reference(minilm_folder(), TEXTS)).min() >= 0.9999
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


async def test_the_end_of_a_long_text_counts(minilm: SentenceEmbedding) -> None:
    talk = "We talked about the weather and the garden. " * 60
    fact = "Zamiko the dog lives in Belora."

    plain, told, query = await minilm.embed([talk, talk + fact, fact])

    assert float(told @ query) > float(plain @ query) + 0.02


async def test_a_long_text_is_the_mean_of_its_windows(minilm: SentenceEmbedding) -> None:
    words = " ".join(["garden"] * 254 + ["weather"] * 100)

    (vector,) = await minilm.embed([words])

    parts = reference(minilm_folder(), ["garden " * 254, "weather " * 100])
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


# --- engines --------------------------------------------------------------------------------------

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 132,
    "initializer_range": 0.2,
}
RELATIVES = [
    BertConfig(**SIZES),
    BertConfig(**SIZES, hidden_act="relu"),
    RobertaConfig(**SIZES, type_vocab_size=1),
    XLMRobertaConfig(**SIZES),
]


@pytest.mark.parametrize("config", RELATIVES, ids=lambda c: f"{c.model_type} {c.hidden_act}")
@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_onnx_computes_what_torch_does(
    tmp_path: Path, config: PretrainedConfig, pooling: str
) -> None:
    folder = save_tiny_encoder(tmp_path, config, pooling=pooling)
    with loaded(model=str(folder), engine="onnx", batch_size=2) as pipeline:
        vectors = await pipeline.embed(TEXTS)

    short = [i for i, text in enumerate(TEXTS) if len(text) < 200]
    assert vectors[short][:, :32] == pytest.approx(
        reference(folder, [TEXTS[i] for i in short]), abs=1e-5
    )


async def test_engines_make_vectors_that_are_compared() -> None:
    with loaded(engine="onnx") as onnx, loaded(engine="torch") as torch:
        one, other = await onnx.embed(TEXTS), await torch.embed(TEXTS)

        assert onnx.signature == torch.signature
        assert one == pytest.approx(other, abs=1e-5)


async def test_eight_bits_are_near_and_are_not_compared() -> None:
    with loaded(quantization="int8") as pipeline, loaded() as whole:
        vectors = await pipeline.embed(TEXTS)

        assert pipeline.signature != whole.signature
        assert pipeline.n_bytes < 0.7 * whole.n_bytes
    assert cosines(vectors, reference(minilm_folder(), TEXTS)).min() > 0.95


def test_what_onnx_cannot_run_runs_on_torch_or_is_refused_by_name(tmp_path: Path) -> None:
    config = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    folder = save_tiny_encoder(tmp_path / "distil", config)

    with loaded(model=str(folder)) as pipeline:
        assert pipeline.dim == 32
    with pytest.raises(ModelLoadError, match=r"`distil` cannot be run by onnx: .*`distilbert`"):
        load(model=str(folder), engine="onnx")
    with pytest.raises(ModelLoadError, match=r"`distil` cannot be run in int8"):
        load(model=str(folder), quantization="int8")
    with pytest.raises(ModelLoadError, match=r"the engine is torch, and int8 is onnx's alone"):
        load(engine="torch", quantization="int8")


# --- texts ----------------------------------------------------------------------------------------


async def test_equal_texts_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    with loaded() as pipeline:
        forward = pipeline._forward

        def count(windows: Sequence[list[int]]) -> FloatArray:
            read.append(len(windows))
            return forward(windows)

        monkeypatch.setattr(pipeline, "_forward", count)
        vectors = await pipeline.embed(["a dog", "a cat", "a dog"] * 3)

    assert sum(read) == 2
    assert vectors.shape == (9, 768)
    np.testing.assert_array_equal(vectors[0], vectors[8 - 2])
    assert float(vectors[0] @ vectors[1]) < 0.99


async def test_texts_of_mixed_lengths_share_batches_of_like_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[int]] = []
    with loaded(batch_size=4) as pipeline:
        forward = pipeline._forward_batch

        def note(windows: Sequence[list[int]]) -> FloatArray:
            batches.append([len(window) for window in windows])
            return forward(windows)

        monkeypatch.setattr(pipeline, "_forward_batch", note)
        texts = [f"{'word ' * (97 * i % 64)}{i}" for i in range(64)]
        vectors = await pipeline.embed(texts)

    assert cosines(vectors, reference(minilm_folder(), texts)).min() >= 0.9999
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(map(sum, batches))


@pytest.fixture
def prompted(tmp_path: Path) -> Path:
    """Folder of a tiny model whose config says what stands before questions and texts."""
    folder = save_tiny_bert(tmp_path / "prompted")
    file = folder / "config_sentence_transformers.json"
    content = json.loads(file.read_text())
    content["prompts"] = {"query": "question: ", "document": "passage: "}
    file.write_text(json.dumps(content))
    return folder


async def test_questions_and_texts_have_the_prefixes_of_the_model(prompted: Path) -> None:
    with loaded(model=str(prompted)) as pipeline:
        (asked,) = await pipeline.embed(["a dog"], kind="query")
        (kept,) = await pipeline.embed(["a dog"])

    both = reference(prompted, ["question: a dog", "passage: a dog"], prompt="")
    assert np.stack([asked, kept])[:, :32] == pytest.approx(both, abs=1e-5)


async def test_prefixes_of_the_settings_come_first(prompted: Path) -> None:
    with (
        loaded(model=str(prompted)) as own,
        loaded(model=str(prompted), query_prefix="ask: ") as asking,
        loaded(model=str(prompted), document_prefix="") as bare,
    ):
        (asked,) = await asking.embed(["a dog"], kind="query")
        (kept,) = await bare.embed(["a dog"])
        both = reference(prompted, ["ask: a dog", "a dog"], prompt="")

        assert np.stack([asked, kept])[:, :32] == pytest.approx(both, abs=1e-5)
        assert own.signature == asking.signature != bare.signature


# --- fewer numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("said_by", ["config", "setting"])
async def test_vectors_of_a_model_trained_for_it_are_cut(tmp_path: Path, said_by: str) -> None:
    folder = save_tiny_bert(tmp_path / "tiny")
    if said_by == "config":
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"matryoshka_dims": [8, 16, 32]}))
    with loaded(model=str(folder), dimensions=16, matryoshka=said_by == "setting") as pipeline:
        vectors = await pipeline.embed(TEXTS[:3])
        shorter = await pipeline.embed(TEXTS[:3], dimensions=8)

        assert pipeline.model.dim == 16
        with pytest.raises(InputError, match="dimensions, not 32"):
            await pipeline.embed(["x"], dimensions=32)
    whole = reference(folder, TEXTS[:3])
    for found, dim in ((vectors, 16), (shorter, 8)):
        kept = whole[:, :dim] / np.linalg.norm(whole[:, :dim], axis=1, keepdims=True)
        assert found[:, :dim] == pytest.approx(kept, abs=1e-5)
        assert not found[:, dim:].any()


async def test_vectors_of_another_model_are_not_cut() -> None:
    with pytest.raises(ModelLoadError, match="nothing says that it was trained"):
        load(dimensions=128)
    with loaded() as pipeline:
        with pytest.raises(InputError, match="LAB_EMBEDDING_MATRYOSHKA=true"):
            await pipeline.embed(["x"], dimensions=128)
        assert (await pipeline.embed(["x"], dimensions=384)).any()


def test_a_model_that_is_too_wide_is_refused_unless_it_is_cut(tmp_path: Path) -> None:
    sizes = SIZES | {"hidden_size": 1024}
    folder = save_tiny_encoder(tmp_path / "wide", BertConfig(**sizes))

    with pytest.raises(ModelLoadError, match="makes vectors of 1024 dimensions"):
        load(model=str(folder))
    with loaded(model=str(folder), dimensions=256, matryoshka=True) as pipeline:
        assert pipeline.dim == 256
