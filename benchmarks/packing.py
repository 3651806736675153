"""
What packed weights and fused layers are worth: `python -m benchmarks.packing`.

A pass of the random Llama of about 30 M parameters as the lab runs it on a CPU
(`lab/pipelines/packing.py`, `layer.py`) beside the same pass as transformers runs it: one new token
for 1 to 32 rows, and one prompt of 240 tokens. One thread on one core, the two in turn, seconds of
CPU; the ratio is that of their median passes.
"""

import os
import statistics
import sys
import time

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from benchmarks.report import Row, report
from benchmarks.serve import CORES, llama_config
from lab.pipelines.layer import fuse_layers
from lab.pipelines.packing import pack_linears

REPEATS = 30
AIMS = {"1 row": 1.1, "2 rows": 1.0, "4 rows": 1.0, "8 rows": 1.0, "16 rows": 1.0, "32 rows": 1.05}
PROMPT, PROMPT_AIM = "a prompt of 240 tokens", 1.05


def network(*, packed: bool) -> PreTrainedModel:
    """Return the model, the same weights at every call."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama_config()).eval().requires_grad_(False)
    if packed:
        fuse_layers(model)
        pack_linears(model)
    return model


def inputs() -> dict[str, Tensor]:
    """Return the token ids of each pass."""
    rows = {name: torch.full((int(name.split()[0]), 1), 7) for name in AIMS}
    return rows | {PROMPT: torch.full((1, 240), 7)}


@torch.inference_mode()
def pass_s(model: PreTrainedModel, ids: Tensor) -> float:
    """Return the seconds of CPU that one pass takes."""
    started = time.thread_time()
    model(input_ids=ids, use_cache=False, logits_to_keep=1)
    return time.thread_time() - started


def ratio(packed: PreTrainedModel, plain: PreTrainedModel, ids: Tensor) -> float:
    """Return the time of packed layers to that of plain ones, each at its median."""
    pairs = [(pass_s(packed, ids), pass_s(plain, ids)) for _ in range(REPEATS)]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    os.sched_setaffinity(0, {CORES[0]})
    torch.set_num_threads(1)
    packed, plain = network(packed=True), network(packed=False)
    aims = AIMS | {PROMPT: PROMPT_AIM}
    rows = [
        Row(f"time of {name}, packed to plain", ratio(packed, plain, ids), aims[name], "×")
        for name, ids in inputs().items()
    ]
    return 0 if report("packing", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
