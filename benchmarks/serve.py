"""
How fast the lab's endpoint serves: `python -m benchmarks.serve`.

The same random Llama of about 30 M parameters behind `lab serve`, behind `transformers serve` with
and without continuous batching, and in plain batched `generate`: prompts of about 240 tokens,
64 new ones, 1, 8 and 32 streams. Each server with its database is pinned to the same one core; the
client runs on another where there is one. The servers answer in turn, so that what else the machine
does meets all alike; the median of some rounds counts.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from tokenizers import Tokenizer
from transformers import LlamaConfig

from benchmarks.random_llama import save_random_llama, words
from benchmarks.report import Row, report
from benchmarks.start import LAB, answers, free_port, has_text

STREAMS = (1, 8, 32)
ROUNDS = {1: 9, 8: 3, 32: 3}
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
    """What some streams gave: tokens per second of all, median time to the first token."""

    tokens_per_s: float
    first_token_s: float


@dataclass(frozen=True)
class Server:
    """A server that is ready, and what to send it."""

    url: str
    key: str
    model: str


def llama_config() -> LlamaConfig:
    """Return the sizes of the model that all serve."""
    return LlamaConfig(
        vocab_size=4096,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
    )


def prompts(folder: Path, n_prompts: int, seed: int) -> list[str]:
    """Return prompts of about 240 tokens, none the beginning of another."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = (" ".join(words(PROMPT_TOKENS, seed + i)) for i in range(n_prompts))
    return [tokenizer.decode(tokenizer.encode(text).ids[:PROMPT_TOKENS]) for text in texts]


@contextmanager
def running(command: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
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


async def measure(servers: dict[str, Server], folder: Path) -> dict[str, dict[int, Speed]]:
    """Return the speed of each server at each number of streams, after an answer to warm up."""
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(client_of(server))
            for name, server in servers.items()
        }
        for name, client in clients.items():
            await one_stream(client, servers[name].model, prompts(folder, 1, 999)[0])
        speeds: dict[str, dict[int, Speed]] = {name: {} for name in servers}
        for n, n_rounds in ROUNDS.items():
            rounds: dict[str, list[Speed]] = {name: [] for name in servers}
            for i in range(n_rounds):
                texts = prompts(folder, n, 1000 * n + 100 * i)
                for name, client in clients.items():
                    rounds[name].append(await speed(client, servers[name].model, texts))
            for name in servers:
                speeds[name][n] = median(rounds[name])
        return speeds


def client_of(server: Server) -> httpx.AsyncClient:
    """Return a client of a server, for any number of streams."""
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"Authorization": f"Bearer {server.key}"},
        timeout=600,
        trust_env=False,
        limits=httpx.Limits(max_connections=None),
    )


async def speed(client: httpx.AsyncClient, model: str, texts: list[str]) -> Speed:
    """Return the speed of a stream for each text, all at once."""
    started = time.perf_counter()
    firsts = await asyncio.gather(*(one_stream(client, model, text) for text in texts))
    total = time.perf_counter() - started
    return Speed(len(texts) * NEW_TOKENS / total, statistics.median(f for f, _ in firsts))


def median(speeds: list[Speed]) -> Speed:
    """Return the median of each figure."""
    return Speed(
        statistics.median(one.tokens_per_s for one in speeds),
        statistics.median(one.first_token_s for one in speeds),
    )


@contextmanager
def lab_server(folder: Path) -> Iterator[Server]:
    """Run `lab serve`, database and all."""
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
        with running([LAB, "serve"], environment, f"{url}/readyz"):
            key = subprocess.run(
                [LAB, "keys", "create", "bench"],
                env=ENVIRONMENT | environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            yield Server(url, key, MODEL)


@contextmanager
def peer_server(folder: Path, flags: list[str]) -> Iterator[Server]:
    """Run `transformers serve`."""
    port = free_port()
    command = [str(Path(LAB).with_name("transformers")), "serve", str(folder), *flags]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    url = f"http://127.0.0.1:{port}"
    with running([*command, "--host", "127.0.0.1"], {}, f"{url}/health"):
        yield Server(url, "none", str(folder))


def server_speeds(folder: Path) -> dict[str, dict[int, Speed]]:
    """Return the speed of the lab and of each mode of its peer."""
    with (
        lab_server(folder) as lab,
        peer_server(folder, []) as plain,
        peer_server(folder, ["--continuous-batching"]) as batching,
    ):
        servers = dict(zip(("lab serve", *PEERS), (lab, plain, batching), strict=True))
        return asyncio.run(measure(servers, folder))


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


def figures(results: dict[str, dict[int, Speed]]) -> dict[str, dict[str, str]]:
    """Return what was measured, as a table."""
    return {
        name: {
            f"{n} streams": f"{one.tokens_per_s:.1f} tokens/s"
            + (f", first after {one.first_token_s:.2f} s" if one.first_token_s else "")
            for n, one in speeds.items()
        }
        for name, speeds in results.items()
    }


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    os.sched_setaffinity(0, {CORES[-1]})
    with TemporaryDirectory(prefix="lab-") as parent:
        folder = Path(parent) / MODEL
        save_random_llama(folder, llama_config())
        results = {**server_speeds(folder), "generate": generate_speed(folder)}
    return 0 if report("serve", rows(results), figures(results)) else 1


if __name__ == "__main__":
    sys.exit(main())
