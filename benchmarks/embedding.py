"""
How fast texts are embedded: `python -m benchmarks.embedding`.

MiniLM over turns of about 37 tokens, and over texts of mixed lengths, 8 to 250 tokens in any order:
by the lab's pipeline with each of its engines, and by sentence-transformers as its documentation
shows it (`encode`, which sorts by length too). All on one core with one thread and in turn, so that
what else the machine does meets all alike; the median of some rounds counts. Beside the speed
stands how near the vectors are to those of sentence-transformers.
"""

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.report import Row, report
from benchmarks.serve import CORES
from benchmarks.store import ENGLISH
from lab.pipelines.catalog import Catalog, minilm_folder
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.load import load_embedding
from lab.protocols import FloatArray
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig

ROUNDS, N_TEXTS = 5, 128
AIMS = {"onnx": 1.5, "onnx in int8": 2.5}
COSINE_AIMS = {"onnx": 0.9999, "onnx in int8": 0.97}
ENGINES = {
    "onnx": {"engine": "onnx"},
    "onnx in int8": {"engine": "onnx", "quantization": "int8"},
    "torch": {"engine": "torch"},
}


def texts(lengths: Sequence[int], chance: random.Random) -> list[str]:
    """Return texts of so many words, each of which is a token."""
    return [" ".join(chance.choices(ENGLISH.split(), k=length)) for length in lengths]


def pipeline(settings: dict[str, str]) -> SentenceEmbedding:
    """Return the bundled model by an engine."""
    config = EmbeddingConfig.model_validate({"device": "cpu", **settings})
    return load_embedding(Catalog(ChatConfig(), config).embedding, config, 1)


async def measure(
    pipelines: dict[str, SentenceEmbedding], peer: SentenceTransformer, given: list[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return texts/s of each and of the peer, and the least cosine of each to the peer."""
    seconds: dict[str, list[float]] = {name: [] for name in ("peer", *pipelines)}
    vectors: dict[str, FloatArray] = {}
    for _ in range(ROUNDS):
        started = time.perf_counter()
        vectors["peer"] = peer.encode(given, normalize_embeddings=True)
        seconds["peer"].append(time.perf_counter() - started)
        for name, embedding in pipelines.items():
            started = time.perf_counter()
            vectors[name] = await embedding.embed(given)
            seconds[name].append(time.perf_counter() - started)
    speeds = {name: len(given) / statistics.median(of) for name, of in seconds.items()}
    dim = vectors["peer"].shape[1]
    cosines = {
        name: float(np.min((vectors[name][:, :dim] * vectors["peer"]).sum(axis=1)))
        for name in pipelines
    }
    return speeds, cosines


async def run() -> bool:
    """Measure and report; return whether every aim is met."""
    chance = random.Random(0)
    kinds = {
        "turns of 37 tokens": texts([35] * N_TEXTS, chance),
        "mixed lengths": texts([chance.randint(6, 248) for _ in range(N_TEXTS)], chance),
    }
    pipelines = {name: pipeline(settings) for name, settings in ENGINES.items()}
    peer = SentenceTransformer(str(minilm_folder()), device="cpu")
    rows: list[Row] = []
    figures: dict[str, dict[str, str]] = {}
    for kind, given in kinds.items():
        speeds, cosines = await measure(pipelines, peer, given)
        for name, aim in AIMS.items():
            ratio = speeds[name] / speeds["peer"]
            row = Row(f"{kind}, {name} to sentence-transformers", ratio, aim, "×", True)
            rows.append(row)
        for name, speed in speeds.items():
            called = "sentence-transformers" if name == "peer" else f"lab, {name}"
            cells = figures.setdefault(called, {})
            cells[f"{kind}, texts/s"] = f"{speed:.0f}"
            cells[f"{kind}, least cosine"] = f"{cosines[name]:.4f}" if name in cosines else ""
        rows += [
            Row(f"{kind}, {name}, least cosine", cosines[name], aim, more_is_better=True)
            for name, aim in COSINE_AIMS.items()
        ]
    for embedding in pipelines.values():
        embedding.close()
    return report("embedding", rows, figures)


def main() -> int:
    """Run on one core; return 0 when every aim is met."""
    os.sched_setaffinity(0, {CORES[0]})
    torch.set_num_threads(1)
    return 0 if asyncio.run(run()) else 1


if __name__ == "__main__":
    sys.exit(main())
