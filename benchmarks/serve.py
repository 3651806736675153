"""
How fast the lab's endpoint serves: `python -m benchmarks.serve`.

The same random Llama of about 30 M parameters behind `lab serve`, behind `transformers serve` with
and without continuous batching, and in plain batched `generate`: prompts of about 240 tokens,
64 new ones, 1, 8 and 32 streams. Each server with its database is pinned to one core; the
client runs on another where there is one.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, LlamaConfig

from benchmarks.random_llama import save_random_llama, words
from benchmarks.report import Row, report
from benchmarks.start import LAB, answers, free_port, has_text

STREAMS = (1, 8, 32)
NEW_TOKENS = 64
PROMPT_TOKENS = 232
MODEL = "random-llama"
PEERS = ("transformers serve", "transformers serve --continuous-batching")
SPEED_AIMS = {1: 1.0, 8: 1.2, 32: 2.0}
FIRST_TOKEN_AIMS = {1: 1.0, 8: 0.7, 32: 0.5}

CORES = sorted(os.sched_getaffinity(0))
PINNED = ["taskset", "-c", str(CORES[0])]
ENVIRONMENT = {
    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},  # noqa: TID251
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class Speed:
    """What one number of streams gave: tokens per second of all, median time to first token."""

    tokens_per_s: float
    first_token_s: float


def save_model(folder: Path) -> None:
    """Save the model that all serve."""
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
    )
    save_random_llama(folder, config)


def prompts(folder: Path, n_prompts: int, seed: int) -> list[str]:
    """Return prompts of about 240 tokens, none the beginning of another."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = (" ".join(words(PROMPT_TOKENS, seed + i)) for i in range(n_prompts))
    return [tokenizer.decode(tokenizer.encode(text)[:PROMPT_TOKENS]) for text in texts]


@contextmanager
def server(command: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    """Run a server on the pinned core until the block ends."""
    with subprocess.Popen(
        [*PINNED, *command],
        env=ENVIRONMENT | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not answers(ready):
                if process.poll() is not None:
                    raise SystemExit(f"`{' '.join(command)}` ended: {process.returncode}.")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


async def one_stream(client: httpx.AsyncClient, model: str, prompt: str) -> tuple[float, float]:
    """Return the seconds to the first text of an answer, and to its end."""
    request = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "stream": True,
    }
    started, first = time.perf_counter(), 0.0
    async with client.stream("POST", "/v1/chat/completions", json=request) as response:
        if response.status_code != 200:
            raise SystemExit(f"{response.url} answered {response.status_code}.")
        async for line in response.aiter_lines():
            data = line.removeprefix("data: ")
            if not first and data.startswith("{") and has_text(json.loads(data)):
                first = time.perf_counter() - started
    return first, time.perf_counter() - started


async def measure(url: str, key: str, model: str, folder: Path) -> dict[int, Speed]:
    """Return the speed at each number of streams, after a first answer to warm up."""
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=600, trust_env=False, limits=limits
    ) as client:
        await one_stream(client, model, prompts(folder, 1, 999)[0])
        return {n: await speed(client, model, folder, n) for n in STREAMS}


async def speed(client: httpx.AsyncClient, model: str, folder: Path, n: int) -> Speed:
    """Return the speed of `n` streams at once; the median of three rounds for a few streams."""
    rounds: list[Speed] = []
    for i in range(3 if n == 1 else 1):
        texts = prompts(folder, n, 1000 * n + 100 * i)
        started = time.perf_counter()
        firsts = await asyncio.gather(*(one_stream(client, model, text) for text in texts))
        total = time.perf_counter() - started
        rounds.append(Speed(n * NEW_TOKENS / total, statistics.median(f for f, _ in firsts)))
    return sorted(rounds, key=lambda one: one.tokens_per_s)[len(rounds) // 2]


def lab_speed(folder: Path) -> dict[int, Speed]:
    """Return the speed of `lab serve`, database and all."""
    with TemporaryDirectory(prefix="lab-") as data:
        Path(data).chmod(0o711)  # the account of the database passes through
        port = free_port()
        environment = {
            "LAB_DATA_FOLDER": f"{data}/data",
            "LAB_CHAT_MODEL": str(folder),
            "LAB_SERVER_PORT": str(port),
            "LAB_DATABASE_PORT": str(free_port()),
        }
        url = f"http://127.0.0.1:{port}"
        with server([LAB, "serve"], environment, f"{url}/readyz"):
            key = subprocess.run(
                [LAB, "keys", "create", "bench"],
                env=ENVIRONMENT | environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            return asyncio.run(measure(url, key, MODEL, folder))


def peer_speed(folder: Path, flags: list[str]) -> dict[int, Speed]:
    """Return the speed of `transformers serve`."""
    port = free_port()
    command = [str(Path(LAB).with_name("transformers")), "serve", str(folder), *flags]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    url = f"http://127.0.0.1:{port}"
    with server([*command, "--host", "127.0.0.1"], {}, f"{url}/health"):
        return asyncio.run(measure(url, "none", str(folder), folder))


def generate_speed(folder: Path) -> dict[int, Speed]:
    """Return the speed of batched `generate`, measured in a process of its own."""
    command = [*PINNED, sys.executable, "-m", "benchmarks.generate", str(folder)]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return {int(n): Speed(rate, 0) for n, rate in json.loads(run.stdout).items()}


def rows(results: dict[str, dict[int, Speed]]) -> list[Row]:
    """Return the ratios that are judged."""
    lab, generate = results["lab serve"], results["generate"]
    judged = []
    for n in STREAMS:
        peers = [results[name][n] for name in PEERS]
        fastest = max(peer.tokens_per_s for peer in peers)
        soonest = min(peer.first_token_s for peer in peers)
        judged += [
            Row(
                f"tokens/s, {n} streams, to the better peer mode",
                lab[n].tokens_per_s / fastest,
                SPEED_AIMS[n],
                "×",
                more_is_better=True,
            ),
            Row(
                f"first token, {n} streams, to the better peer mode",
                lab[n].first_token_s / soonest,
                FIRST_TOKEN_AIMS[n],
                "×",
            ),
        ]
    for n in (8, 32):
        ratio = lab[n].tokens_per_s / generate[n].tokens_per_s
        name = f"tokens/s, {n} streams, to batched generate"
        judged.append(Row(name, ratio, 0.75, "×", more_is_better=True))
    scaling = lab[32].tokens_per_s / lab[1].tokens_per_s
    judged.append(Row("tokens/s, 32 streams to one", scaling, 2.5, "×", more_is_better=True))
    return judged


def show(results: dict[str, dict[int, Speed]]) -> None:
    """Print what was measured: tokens per second, and the seconds to the first token."""
    table = Table("", *(f"{n} streams" for n in STREAMS), title="tokens/s · first token")
    for name, speeds in results.items():
        cells = [f"{s.tokens_per_s:.1f} · {s.first_token_s:.2f} s" for s in speeds.values()]
        table.add_row(name, *cells)
    Console().print(table)


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    os.sched_setaffinity(0, {CORES[-1]})
    with TemporaryDirectory(prefix="lab-") as parent:
        folder = Path(parent) / MODEL
        save_model(folder)
        results = {
            "lab serve": lab_speed(folder),
            PEERS[0]: peer_speed(folder, []),
            PEERS[1]: peer_speed(folder, ["--continuous-batching"]),
            "generate": generate_speed(folder),
        }
    show(results)
    return 0 if report("serve", rows(results)) else 1


if __name__ == "__main__":
    sys.exit(main())
