"""
How soon the lab is there: `python -m benchmarks.start`.

Measures `import lab`, `lab --help`, and `lab serve` from its start to the first token of a chat,
in an empty data folder (the database is made first) and in one that was used before.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.report import Row, report

REPEATS = 5
LAB = str(Path(sys.executable).with_name("lab"))
IMPORT = "import time; t = time.perf_counter(); import lab; print(time.perf_counter() - t)"


def import_s() -> float:
    """Return the median seconds that `import lab` takes."""
    command = [sys.executable, "-c", IMPORT]
    return statistics.median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(REPEATS)
    )


def help_s() -> float:
    """Return the median seconds of `lab --help`, from process start to its end."""
    return statistics.median(timed([LAB, "--help"]) for _ in range(REPEATS))


def timed(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


@contextmanager
def lab_serve(environment: dict[str, str]) -> Iterator[float]:
    """Run `lab serve`, and yield the seconds until it is ready."""
    url = f"http://127.0.0.1:{environment['LAB_SERVER_PORT']}/readyz"
    started = time.perf_counter()
    with subprocess.Popen(
        [LAB, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            while not answers(url):
                if server.poll() is not None:
                    raise SystemExit(f"`lab serve` ended with status {server.returncode}.")
                time.sleep(0.02)
            yield time.perf_counter() - started
        finally:
            server.terminate()


def answers(url: str) -> bool:
    """Return whether a page is there."""
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def first_token_s(environment: dict[str, str], key: str) -> float:
    """Return the seconds from a chat request to its first token; the model is not loaded yet."""
    request = {"model": "lab-tiny", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    url = f"http://127.0.0.1:{environment['LAB_SERVER_PORT']}/v1/chat/completions"
    started = time.perf_counter()
    with httpx.stream(
        *("POST", url),
        json=request,
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
        trust_env=False,
    ) as response:
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if data.startswith("{") and has_text(json.loads(data)):
                return time.perf_counter() - started
    raise SystemExit(f"The chat ended with status {response.status_code} before its first token.")


def has_text(chunk: dict[str, list[dict[str, dict[str, str]]]]) -> bool:
    """Return whether a chunk of a stream carries text."""
    return any(choice["delta"].get("content") for choice in chunk["choices"])


def serve_s() -> tuple[float, float]:
    """Return the seconds to the first token in an empty data folder, and in a used one."""
    with TemporaryDirectory(prefix="lab-") as folder:
        Path(folder).chmod(0o711)  # the account of the database passes through
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},  # noqa: TID251
            "LAB_DATA_FOLDER": f"{folder}/data",
            "LAB_SERVER_PORT": str(free_port()),
            "LAB_DATABASE_PORT": str(free_port()),
        }
        with lab_serve(environment) as ready_s:
            # Not counted: a person makes a key once.
            key = subprocess.run(
                [LAB, "keys", "create", "bench"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            empty_s = ready_s + first_token_s(environment, key)
        with lab_serve(environment) as ready_s:
            used_s = ready_s + first_token_s(environment, key)
    return empty_s, used_s


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """Measure and report; return 0 when every aim is met."""
    empty_s, used_s = serve_s()
    met = report(
        "start",
        [
            Row("import lab", import_s(), 0.3, "s"),
            Row("lab --help", help_s(), 0.6, "s"),
            Row("lab serve to first token, empty data folder", empty_s, 15, "s"),
            Row("lab serve to first token, used data folder", used_s, 15, "s"),
        ],
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
