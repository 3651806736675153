"""
What an embedding model takes of this process by onnxruntime: `python -m tests.encoder_peak none`.

Writes bytes as JSON: of the model that lies there, and of a full batch beyond that. Run in a
process of its own, since what a process takes at most is of all that it does.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np

from lab.pipelines.catalog import Catalog
from lab.pipelines.embedding import SentenceEmbedding
from lab.pipelines.load import load_embedding
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig

N_TOKENS = 256


def process_bytes(name: str) -> int:
    """Return a figure of /proc/self/status, after what is free was given back."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def load(quantization: str) -> SentenceEmbedding:
    """Return the bundled model."""
    config = EmbeddingConfig.model_validate(
        {"device": "cpu", "engine": "onnx", "quantization": quantization}
    )
    return load_embedding(Catalog(ChatConfig(), config).embedding, config, 1)


def main(quantization: str) -> None:
    """Load the model twice, so that what its libraries take is not counted, and run a batch."""
    first = load(quantization)
    first._forward([[101, 102]])
    before = process_bytes("VmRSS")
    pipeline = load(quantization)
    pipeline._forward([[101, 102]])
    there = process_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most is counted anew
    windows = np.full((pipeline._batch_size, N_TOKENS), 2000).tolist()
    pipeline._forward(windows)
    most = process_bytes("VmHWM")
    json.dump({"weights": there - before, "activations": most - there}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
