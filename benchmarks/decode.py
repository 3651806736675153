"""
How near decoding on an accelerator comes to its memory bandwidth: `python -m benchmarks.decode`.

A Llama of the shape of the 8 B models with random weights in bfloat16, 1, 8 and 32 streams of about
250 tokens and 128 new ones, through the lab's chat pipeline; beside it, in the same run, batched
`generate` of transformers with the same weights. The roofline is what one stream could reach if
reading the weights at the rate of a copy on the device were all.

On an H100 a step takes 7.4 ms on the device, of which the products of matrices take 5.4 (5.0 by the
roofline) and small operations 2: norms, attention and the writing of keys and values, some 20 a
layer. About 1 ms more passes on the host, which chooses the token before the next step begins.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.random_llama import save_tokenizer, words
from benchmarks.report import Row, report
from lab.pipelines.chat import TransformersChat
from lab.pipelines.layer import fuse_layers
from lab.schemas.chat_config import ChatConfig
from lab.schemas.chat_message import ChatMessage
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.role import Role
from lab.schemas.task import Task
from lab.schemas.usage import Usage

STREAMS = (1, 8, 32)
NEW_TOKENS = 128
PROMPT_TOKENS = 232
ROOFLINE_AIM, BATCH_AIM = 0.5, 12.0
PEER_AIM = 1.0
COPIED_BYTES = 1 << 32


@dataclass(frozen=True)
class Speed:
    """What some streams gave: tokens per second of all and of each while decoding, first token."""

    tokens_per_s: float
    decode_per_s: float
    first_token_s: float


def network(tokenizer: PreTrainedTokenizerFast, device: torch.device) -> LlamaForCausalLM:
    """Return the model, made on the device; it never ends a turn by greedy decoding."""
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
    )
    config.bos_token_id = None
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    with device:
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.lm_head.weight.data[tokenizer.eos_token_id] = 0
    return model.eval().requires_grad_(False)


def copy_bytes_per_s(device: torch.device) -> float:
    """Return the bytes that a copy on the device reads and writes in a second."""
    source = torch.randint(256, (COPIED_BYTES,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / median_s(lambda: target.copy_(source), device)


def median_s(run: Callable[[], object], device: torch.device, n_runs: int = 5) -> float:
    """Return the seconds that a run takes after a first one, the device's work included."""
    seconds = []
    for _ in range(1 + n_runs):
        torch.accelerator.synchronize(device)
        started = time.perf_counter()
        run()
        torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def prompts(tokenizer: PreTrainedTokenizerFast, n_prompts: int) -> list[str]:
    """Return texts of the same number of tokens, none the beginning of another."""
    texts = (" ".join(words(PROMPT_TOKENS, seed)) for seed in range(n_prompts))
    return [tokenizer.decode(tokenizer.encode(text)[:PROMPT_TOKENS]) for text in texts]


def generate_tokens_per_s(
    model: LlamaForCausalLM, prompts: list[list[int]], device: torch.device
) -> float:
    """Return the tokens per second of transformers' `generate` with these prompts in one batch."""
    width = min(len(prompt) for prompt in prompts)
    inputs = torch.tensor([prompt[:width] for prompt in prompts], device=device)
    mask = torch.ones_like(inputs)
    seconds = median_s(
        lambda: model.generate(
            input_ids=inputs, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False
        ),
        device,
        n_runs=3,
    )
    return len(prompts) * NEW_TOKENS / seconds


async def answered(chat: TransformersChat, text: str) -> Usage:
    """Return the usage and times of one answer."""
    parameters = GenerationParameters(max_new_tokens=NEW_TOKENS, temperature=0)
    message = ChatMessage(role=Role.user, content=text)
    async for delta in chat.stream([message], parameters):
        if delta.usage:
            return delta.usage
    raise SystemExit("An answer ended without its usage.")


async def measured(chat: TransformersChat, texts: list[str]) -> Speed:
    """Return the speed of all these answers at once."""
    started = time.perf_counter()
    usages = await asyncio.gather(*(answered(chat, text) for text in texts))
    seconds = time.perf_counter() - started
    waits = [(usage.queue_ms + usage.first_token_ms) / 1000 for usage in usages]
    decoding = [
        (usage.completion_tokens - 1) / (usage.total_ms / 1000 - wait)
        for usage, wait in zip(usages, waits, strict=True)
    ]
    n_tokens = sum(usage.completion_tokens for usage in usages)
    return Speed(n_tokens / seconds, statistics.median(decoding), statistics.median(waits))


async def lab_speeds(chat: TransformersChat, texts: list[str]) -> dict[int, Speed]:
    """Return the lab's speed at each number of streams, after a first round of each."""
    for n_streams in STREAMS:
        await measured(chat, texts[:n_streams])
    return {n_streams: await measured(chat, texts[:n_streams]) for n_streams in STREAMS}


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        print("benchmarks.decode needs an accelerator, and torch finds none here.", file=sys.stderr)
        return 1
    bandwidth = copy_bytes_per_s(device)
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)  # as `load_causal` does
    with TemporaryDirectory() as folder:
        tokenizer = save_tokenizer(Path(folder), 4096)
        model = network(tokenizer, device)
        embeddings = model.get_input_embeddings().weight
        n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        roofline = bandwidth / (n_bytes - embeddings.numel() * embeddings.element_size())
        config = ChatConfig(model="8b", device=str(device), max_streams=max(STREAMS))
        entry = Model(id="8b", task=Task.chat, source=folder)
        texts = prompts(tokenizer, max(STREAMS))
        ids = [tokenizer.encode(text) for text in texts]
        generated = {n: generate_tokens_per_s(model, ids[:n], device) for n in STREAMS}
        fuse_layers(model)
        gc.collect()
        chat = TransformersChat(entry, model, tokenizer, config=config)
        lab = asyncio.run(lab_speeds(chat, texts))
        chat.close()

    batched = lab[32].tokens_per_s / lab[1].tokens_per_s
    ratios = {
        "decoding of 1 stream, to the roofline": (lab[1].decode_per_s / roofline, ROOFLINE_AIM),
        "32 streams, to 1 stream": (batched, BATCH_AIM),
    } | {
        f"{n} streams, to generate": (lab[n].tokens_per_s / generated[n], PEER_AIM) for n in STREAMS
    }
    rows = [Row(name, *ratio, "×", more_is_better=True) for name, ratio in ratios.items()]
    figures = {
        f"{n} streams": {
            "lab, tokens/s": f"{lab[n].tokens_per_s:.0f}",
            "each while decoding": f"{lab[n].decode_per_s:.1f}",
            "first token, ms": f"{lab[n].first_token_s * 1000:.0f}",
            "generate, tokens/s": f"{generated[n]:.0f}",
        }
        for n in STREAMS
    }
    figures["roofline of 1 stream"] = dict.fromkeys(figures["1 streams"], "") | {
        "each while decoding": f"{roofline:.1f} (copies {bandwidth / 1e12:.2f} TB/s)"
    }
    return 0 if report("decode", rows, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
