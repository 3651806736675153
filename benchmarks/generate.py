"""Plain batched `generate`, for `benchmarks.serve`: prints its tokens per second as JSON."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.serve import NEW_TOKENS, STREAMS, prompts


def generate_speed(folder: Path) -> dict[int, float]:
    """Return tokens per second of all rows, by the number of rows."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    speeds: dict[int, float] = {}
    for n in (1, *STREAMS):  # the first is to warm up
        messages = [[{"role": "user", "content": text}] for text in prompts(folder, n, 1000 * n)]
        chats = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        batch = tokenizer(chats, padding=True, add_special_tokens=False, return_tensors="pt")
        started = time.perf_counter()
        with torch.inference_mode():
            network.generate(
                **batch,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
            )
        speeds[n] = n * NEW_TOKENS / (time.perf_counter() - started)
    return speeds


if __name__ == "__main__":
    print(json.dumps(generate_speed(Path(sys.argv[1]))))
