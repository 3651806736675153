"""Documents ranked by a question: random models of both kinds, beside transformers."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from lab.errors import ConfigError, InputError, ModelLoadError, UnavailableError
from lab.pipelines import pipeline_factory
from lab.pipelines.catalog import MINILM, minilm_folder
from lab.pipelines.memory import Alive
from lab.pipelines.reranking import INSTRUCT, JUDGE, Reranker
from lab.protocols import FloatArray
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model
from lab.schemas.rerank_config import RerankConfig
from lab.schemas.task import Task
from tests.tiny_llama import save_tiny_llama
from tests.tiny_rerankers import save_tiny_cross_encoder

QUERY = "Where does the dog live?"
DOCUMENTS = [
    "The dog lives in Belora.",
    "It rained all day.",
    "",
    "My sister bought fresh bread at the market and the dog went with her",
    "42",
    "Zamiko.",
]
LONG = "we went to the market and then home " * 60


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


@torch.inference_mode()
def cross_encoder_scores(folder: Path, documents: Sequence[str]) -> FloatArray:
    """Return what transformers makes of each pair alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    logits = [
        network(**tokenizer(QUERY, document, return_tensors="pt")).logits[0, 0].double()
        for document in documents
    ]
    scores: FloatArray = sigmoid(logits)
    return scores


@torch.inference_mode()
def yes_no_scores(folder: Path, documents: Sequence[str]) -> FloatArray:
    """Return how likely yes is, of yes and no, by transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("no", "yes")]
    found = []
    for document in documents:
        asked = f"{INSTRUCT}<Query>: {QUERY}\n<Document>: {document}"
        messages = [{"role": "system", "content": JUDGE}, {"role": "user", "content": asked}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        logits = network(input_ids=inputs["input_ids"]).logits[0, -1, ids]
        found.append(float(torch.softmax(logits.double(), dim=-1)[1]))
    return np.array(found)


@contextmanager
def loaded(folder: Path, **settings: Any) -> Iterator[Reranker]:
    config = RerankConfig.model_validate({"model": str(folder), "device": "cpu", **settings})
    reranker = Reranker.load(Model(id=folder.name, task=Task.rerank, source=str(folder)), config)
    yield reranker
    reranker.close()


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross")


@pytest.fixture(scope="module")
def yes_no(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-reranker", 1024)


@pytest.fixture(scope="module", params=["cross", "yes_no"])
async def both(
    request: pytest.FixtureRequest, cross: Path, yes_no: Path
) -> AsyncIterator[Reranker]:
    folder = cross if request.param == "cross" else yes_no
    with loaded(folder, batch_size=4, max_tokens=1024) as reranker:
        yield reranker


async def test_a_cross_encoder_scores_as_transformers_does(cross: Path) -> None:
    with loaded(cross, batch_size=4) as reranker:
        scores, n_tokens = await reranker.score(QUERY, DOCUMENTS)

    assert scores == pytest.approx(cross_encoder_scores(cross, DOCUMENTS), abs=1e-5)
    assert scores.std() > 1e-3
    assert n_tokens > 60


async def test_yes_and_no_are_weighed_as_transformers_does(yes_no: Path) -> None:
    documents = [document for document in DOCUMENTS if document]
    with loaded(yes_no, batch_size=4, max_tokens=1024) as reranker:
        scores, _ = await reranker.score(QUERY, documents)

    assert scores == pytest.approx(yes_no_scores(yes_no, documents), abs=1e-4)
    assert scores.std() > 1e-3


async def test_a_score_does_not_depend_on_the_others(both: Reranker) -> None:
    together, _ = await both.score(QUERY, DOCUMENTS)
    alone = [(await both.score(QUERY, [document]))[0][0] for document in DOCUMENTS]
    backwards, _ = await both.score(QUERY, DOCUMENTS[::-1])

    assert together == pytest.approx(np.array(alone), abs=1e-5)
    assert backwards[::-1] == pytest.approx(together, abs=1e-5)


async def test_a_long_document_is_read_to_its_end(cross: Path, yes_no: Path) -> None:
    for folder in (cross, yes_no):
        size = 96 if folder is cross else 700
        with loaded(folder, max_tokens=size) as reranker:
            judge = reranker._judge
            passages = judge.passages(QUERY, f"{LONG * 3} Zamiko")
            (score,), n_tokens = await reranker.score(QUERY, [f"{LONG * 3} Zamiko"])
            with torch.inference_mode():
                parts = [float(judge.logits([passage])[0]) for passage in passages]

            assert len(passages) > 2
            assert all(len(passage["input_ids"]) <= size for passage in passages)
            text = judge.tokenizer.decode(passages[-1]["input_ids"]).lower()
            assert "zamiko" in text
            assert n_tokens == sum(len(passage["input_ids"]) for passage in passages)
            assert score == pytest.approx(sigmoid(max(parts)), abs=1e-5)


async def test_passages_of_like_length_share_a_batch(
    cross: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loaded(cross, batch_size=4) as reranker:
        logits, shapes = reranker._judge.logits, []

        def note(batch: Sequence[dict[str, list[int]]]) -> Tensor:
            shapes.append([len(one["input_ids"]) for one in batch])
            return logits(batch)

        monkeypatch.setattr(reranker._judge, "logits", note)
        await reranker.score(QUERY, ["word " * (37 * i % 40) for i in range(40)])

    assert sum(max(of) * len(of) for of in shapes) < 1.15 * sum(map(sum, shapes))


async def test_a_question_that_leaves_no_room_is_refused(both: Reranker) -> None:
    with pytest.raises(InputError, match=r"`query`: .* LAB_RERANK_MAX_TOKENS"):
        await both.score("where " * 2000, ["here"])
    assert (await both.score(QUERY, ["here"]))[0].shape == (1,)


async def test_a_score_that_is_not_finite_is_an_error(
    both: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(both._judge, "logits", lambda batch: torch.full((len(batch),), torch.nan))
        with pytest.raises(UnavailableError, match="not finite"):
            await both.score(QUERY, ["here"])


async def test_calls_that_come_together_get_their_own_scores(both: Reranker) -> None:
    alone = [(await both.score(QUERY, [document]))[0] for document in DOCUMENTS]
    together = await asyncio.gather(*(both.score(QUERY, [document]) for document in DOCUMENTS))

    assert np.array([scores for scores, _ in together]) == pytest.approx(np.array(alone), abs=1e-5)


def refused(name: str | Path, **settings: Any) -> str:
    """Return why a model is not taken, before anything of it is loaded."""
    config = RerankConfig.model_validate({"model": str(name), **settings})
    model = Model(id=Path(name).name, task=Task.rerank, source=str(name))
    with pytest.raises(ModelLoadError) as caught:
        Reranker.foretell(model, config)
    return str(caught.value)


def test_a_model_of_another_task_is_refused_by_name(tmp_path: Path, cross: Path) -> None:
    chat = save_tiny_llama(tmp_path / "tiny-chat", 128)
    classes = save_tiny_cross_encoder(tmp_path / "moods", n_labels=3)

    assert "`tiny-chat` is a chat model; it cannot rerank" in refused(chat)
    assert "LAB_RERANK_METHOD=yes_no" in refused(chat)
    assert f"`{minilm_folder().name}` makes embeddings" in refused(minilm_folder())
    assert "`moods` tells 3 classes apart" in refused(classes)
    assert "says neither yes nor no" in refused(cross, method="yes_no")
    config = RerankConfig.model_validate({"model": str(chat), "method": "yes_no"})
    model = Model(id="tiny-chat", task=Task.rerank, source=str(chat))
    assert Reranker.foretell(model, config).name == "tiny-chat"


@pytest.mark.parametrize("kind", ["cross", "yes_no"])
async def test_a_reranker_takes_what_was_foretold(kind: str, cross: Path, yes_no: Path) -> None:
    folder = cross if kind == "cross" else yes_no
    config = RerankConfig(model=str(folder), device="cpu", batch_size=8, max_tokens=128)
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig(), rerank=config)
    async with factory.rerank() as leased:
        reranker = cast("Reranker", leased)
        need = factory.residents.ledger.holdings[folder.name].need
        judge = reranker._judge
        passage = {"input_ids": [7] * 128, "attention_mask": [1] * 128}
        shorter = {"input_ids": [7] * 100, "attention_mask": [1] * 100}
        alive = Alive(judge.network)
        with torch.inference_mode(), alive:
            judge.logits([passage] * 7 + [shorter])

        assert reranker.n_bytes == pytest.approx(need.weights, rel=0.02)
        assert need.activations == pytest.approx(alive.peak, rel=0.1)
        assert {card.id: card.task for card in factory.models()}[folder.name] is Task.rerank
    with pytest.raises(InputError, match="reranks and cannot chat"):
        factory.resolve(folder.name)
    await factory.load(folder.name)
    await factory.aclose()


async def test_without_a_reranker_the_setting_is_named() -> None:
    factory = pipeline_factory(ChatConfig(), EmbeddingConfig())

    with pytest.raises(ConfigError, match="LAB_RERANK_MODEL"):
        factory.rerank()
    assert MINILM in [model.id for model in factory.models()]
    await factory.aclose()
