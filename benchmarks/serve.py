"""
How fast the lab's endpoint serves: `python -m benchmarks.serve`.

The same random Llama of about 30 M parameters behind `lab serve`, behind `transformers serve` with
and without continuous batching, and in plain batched `generate`: prompts of about 240 tokens,
64 new ones, 1, 8 and 32 streams; and conversations of ten turns, whose history grows. Each server
with its database is pinned to the same one core; the client runs on another where there is one.
The servers answer in turn, so that what else the machine does meets all alike; the median of some
rounds counts. With `--llama-server`, llama.cpp's server answers beside them from the same weights,
in float32 too (`scripts/llama-server` builds it); it is shown, and no aim is set by it.

One stream reads all weights for each token, 111 MB. A processor that reads 12 GB/s of them, as the
Xeon below, needs 9 ms for that whoever serves, so no server is much faster there than another at
one stream or in a conversation; the EPYC reads them in 3.6 ms.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from tokenizers import Tokenizer
from transformers import LlamaConfig

from benchmarks.gguf_file import save_gguf
from benchmarks.random_llama import save_random_llama, words
from benchmarks.report import Row, report
from benchmarks.start import LAB, answers, free_port, has_text

ROUNDS = {1: 9, 8: 3, 32: 3}
STREAMS = tuple(ROUNDS)
TALKS = 3
NEW_TOKENS = 64
PROMPT_TOKENS = 232
TURNS = 10
TURN_TOKENS, TURN_NEW_TOKENS = 60, 24
"""Of a conversation: a question and an answer."""
MODEL = "random-llama"
PEERS = ("transformers serve", "transformers serve --continuous-batching")
LLAMA = "llama.cpp"
CONVERSATION = f"a conversation of {TURNS} turns"
AIMS = {
    "1 streams": (1.0, 1.0),
    "8 streams": (1.4, 0.5),
    "32 streams": (3.0, 0.3),
    CONVERSATION: (2.0, 0.5),
}
"""By what is asked: at least so many times the tokens/s, at most so many times the first token."""

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
        max_position_embeddings=4096,
    )


def prompts(folder: Path, n_prompts: int, seed: int, n_tokens: int = PROMPT_TOKENS) -> list[str]:
    """Return prompts of about some tokens, none the beginning of another."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = (" ".join(words(n_tokens, seed + i)) for i in range(n_prompts))
    return [tokenizer.decode(tokenizer.encode(text).ids[:n_tokens]) for text in texts]


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


@dataclass(frozen=True)
class Streamed:
    """An answer: seconds to its first text and to its end, and what it said."""

    first_s: float
    total_s: float
    text: str


async def one_stream(
    client: httpx.AsyncClient, model: str, messages: list[dict[str, str]], n_tokens: int
) -> Streamed:
    """Return an answer of some tokens."""
    request = {
        "model": model,
        "messages": messages,
        "max_tokens": n_tokens,
        "temperature": 0,
        "stream": True,
    }
    started, first, text = time.perf_counter(), 0.0, ""
    async with client.stream("POST", "/v1/chat/completions", json=request) as response:
        if response.status_code != 200:
            said = (await response.aread()).decode()
            raise SystemExit(f"{response.url} answered {response.status_code}: {said}")
        async for line in response.aiter_lines():
            data = line.removeprefix("data: ")
            chunk = json.loads(data) if data.startswith("{") else {"choices": []}
            if "error" in chunk:
                raise SystemExit(f"{response.url} answered {chunk['error']}.")
            if has_text(chunk):
                first = first or time.perf_counter() - started
                text += chunk["choices"][0]["delta"]["content"]
    return Streamed(first, time.perf_counter() - started, text)


async def conversation(client: httpx.AsyncClient, model: str, questions: list[str]) -> Speed:
    """Return the speed of a conversation, each turn of which sends all that was said."""
    messages: list[dict[str, str]] = []
    answers = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        answers.append(await one_stream(client, model, messages, TURN_NEW_TOKENS))
        messages.append({"role": "assistant", "content": answers[-1].text})
    total = sum(one.total_s for one in answers)
    first = statistics.median(one.first_s for one in answers)
    return Speed(len(answers) * TURN_NEW_TOKENS / total, first)


Speeds = dict[str, dict[str, Speed]]
"""By who serves, and by what is asked of it."""


async def measure(servers: dict[str, Server], folder: Path) -> Speeds:
    """Return the speed of each server, after an answer to warm up."""
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(client_of(server))
            for name, server in servers.items()
        }
        for name, client in clients.items():
            await speed(client, servers[name].model, prompts(folder, 1, 999))
        speeds: Speeds = {name: {} for name in servers}
        for n, n_rounds in ROUNDS.items():
            asked = [prompts(folder, n, 1000 * n + 100 * i) for i in range(n_rounds)]
            for name, one in (await in_turn(clients, servers, speed, asked)).items():
                speeds[name][streams(n)] = one
        asked = [prompts(folder, TURNS, 50_000 + 100 * i, TURN_TOKENS) for i in range(TALKS)]
        for name, one in (await in_turn(clients, servers, conversation, asked)).items():
            speeds[name][CONVERSATION] = one
        return speeds


async def in_turn(
    clients: dict[str, httpx.AsyncClient],
    servers: dict[str, Server],
    ask: Callable[[httpx.AsyncClient, str, list[str]], Awaitable[Speed]],
    rounds: list[list[str]],
) -> dict[str, Speed]:
    """Return the median speed of each server over rounds in which each is asked the same."""
    found: dict[str, list[Speed]] = {name: [] for name in servers}
    for texts in rounds:
        for name, client in clients.items():
            found[name].append(await ask(client, servers[name].model, texts))
    return {name: median(speeds) for name, speeds in found.items()}


def streams(n: int) -> str:
    """Return what some streams at once are called."""
    return f"{n} streams"


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
    asked = ([{"role": "user", "content": text}] for text in texts)
    answers = await asyncio.gather(
        *(one_stream(client, model, messages, NEW_TOKENS) for messages in asked)
    )
    total = time.perf_counter() - started
    first = statistics.median(one.first_s for one in answers)
    return Speed(len(texts) * NEW_TOKENS / total, first)


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
            "LAB_GUARDS_REPETITION": "0",  # which random weights fall into
            "LAB_GUARDS_STUTTER": "0",
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


@contextmanager
def llama_server(program: str, folder: Path) -> Iterator[Server]:
    """Run llama.cpp's server on the same weights, in float32 as well."""
    port = free_port()
    file = save_gguf(folder, folder.with_suffix(".gguf"))
    command = [program, "--model", str(file), "--alias", MODEL, "--jinja"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    window = llama_config().max_position_embeddings
    command += ["--parallel", str(max(STREAMS)), "--ctx-size", str(max(STREAMS) * window)]
    url = f"http://127.0.0.1:{port}"
    with running(command, {}, f"{url}/health"):
        yield Server(url, "none", MODEL)


def server_speeds(folder: Path, llama: str | None) -> Speeds:
    """Return the speed of the lab, of each mode of its peer, and of llama.cpp where it is given."""
    places = {
        "lab serve": lab_server(folder),
        PEERS[0]: peer_server(folder, []),
        PEERS[1]: peer_server(folder, ["--continuous-batching"]),
    }
    if llama:
        places[LLAMA] = llama_server(llama, folder)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(place) for name, place in places.items()}
        return asyncio.run(measure(servers, folder))


def generate_speed(folder: Path) -> dict[str, Speed]:
    """Return the speed of batched `generate`, measured in a process of its own."""
    command = [*PINNED, sys.executable, "-m", "benchmarks.generate", str(folder)]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return {streams(int(n)): Speed(rate, 0) for n, rate in json.loads(run.stdout).items()}


def rows(results: Speeds) -> list[Row]:
    """Return the ratios that are judged."""
    lab, generate = results["lab serve"], results["generate"]
    judged = []
    for asked, (speed_aim, first_aim) in AIMS.items():
        peers = [results[name][asked] for name in PEERS]
        fastest = max(peer.tokens_per_s for peer in peers)
        soonest = min(peer.first_token_s for peer in peers)
        judged += [
            Row(
                f"tokens/s, {asked}, to the better peer mode",
                lab[asked].tokens_per_s / fastest,
                speed_aim,
                "×",
                more_is_better=True,
            ),
            Row(
                f"first token, {asked}, to the better peer mode",
                lab[asked].first_token_s / soonest,
                first_aim,
                "×",
            ),
        ]
    for n in (8, 32):
        ratio = lab[streams(n)].tokens_per_s / generate[streams(n)].tokens_per_s
        name = f"tokens/s, {streams(n)}, to batched generate"
        judged.append(Row(name, ratio, 0.9, "×", more_is_better=True))
    scaling = lab[streams(32)].tokens_per_s / lab[streams(1)].tokens_per_s
    judged.append(Row("tokens/s, 32 streams to one", scaling, 2.5, "×", more_is_better=True))
    return judged


def figures(results: Speeds) -> dict[str, dict[str, str]]:
    """Return what was measured, as a table."""
    return {
        name: {
            asked: f"{one.tokens_per_s:.1f} tokens/s"
            + (f", first after {one.first_token_s:.2f} s" if one.first_token_s else "")
            for asked, one in speeds.items()
        }
        for name, speeds in results.items()
    }


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--llama-server", help="llama.cpp's server, to measure it beside the lab")
    llama = parser.parse_args().llama_server
    os.sched_setaffinity(0, {CORES[-1]})
    with TemporaryDirectory(prefix="lab-") as parent:
        folder = Path(parent) / MODEL
        save_random_llama(folder, llama_config())
        results = {**server_speeds(folder, llama), "generate": generate_speed(folder)}
    return 0 if report("serve", rows(results), figures(results)) else 1


if __name__ == "__main__":
    sys.exit(main())
