"""Models from a hub: looked at, fetched, pinned, and served by the lab that runs."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from lab.pipelines.catalog import minilm_folder
from tests.model_hub import ModelHub, model_hub
from tests.stack import LAB, lab_environment
from tests.tiny_llama import save_tiny_llama

pytestmark = pytest.mark.integration

MODEL = "acme/tiny"
WEIGHTS, BIG = "model.safetensors", "big.safetensors"
CHUNK = constants.DOWNLOAD_CHUNK_SIZE
"""Bytes that are written at once: as many may come twice."""
BREAK = 2 * CHUNK + CHUNK // 2
"""Bytes after which a connection breaks, so that two chunks were kept."""


@pytest.fixture(scope="module")
def hub_server() -> Iterator[ModelHub]:
    with model_hub() as hub:
        yield hub


@pytest.fixture
def hub(hub_server: ModelHub, tmp_path: Path) -> ModelHub:
    """A hub with one model, whose files each test has anew."""
    hub_server.models = {MODEL: save_tiny_llama(tmp_path / "tiny", 512)}
    hub_server.gated, hub_server.claimed_bytes = {}, {}
    hub_server.breaks_after, hub_server.sent, hub_server.damaged = [], [], False
    return hub_server


@pytest.fixture(scope="module")
async def served(hub_server: ModelHub) -> AsyncIterator[dict[str, str]]:
    """A lab that runs alone and asks this hub; yields the environment of its machine."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        Path(folder).chmod(0o755)
        environment = lab_environment(Path(folder)) | {
            "HF_ENDPOINT": hub_server.url,
            "HF_HOME": f"{folder}/hub",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "250",
        }
        serve = await asyncio.create_subprocess_exec(LAB, "serve", env=environment)
        url = f"http://127.0.0.1:{environment['LAB_SERVER_PORT']}/readyz"
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
            while True:
                try:
                    if (await client.get(url)).is_success:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
        yield environment
        serve.terminate()
        await asyncio.wait_for(serve.wait(), 60)


@pytest.fixture
async def machine(served: dict[str, str], hub: ModelHub) -> AsyncIterator[dict[str, str]]:
    """The same with an empty cache of files, and no model added when it is given back."""
    yield served
    await run(served, "models", "remove", MODEL, code=None)
    for blob in blobs(served):
        blob.unlink()
    for kept in Path(served["HF_HOME"]).rglob("snapshots"):
        kept.rename(kept.with_name(f"old-{kept.stat().st_ino}"))


@pytest.fixture
def long(hub: ModelHub) -> ModelHub:
    """The hub, whose model has a file of three chunks too, which is fetched first."""
    numbers = np.zeros(3 * CHUNK // 4 + 1, np.float32)
    save_file({"unused": numbers}, hub.models[MODEL] / BIG)
    return hub


def of_big(hub: ModelHub) -> list[str | None]:
    """Return the ranges in which the big file was asked for."""
    return [asked for name, asked in hub.sent if name == BIG]


def blobs(machine: dict[str, str]) -> list[Path]:
    return [file for file in Path(machine["HF_HOME"]).glob("hub/*/blobs/*") if file.is_file()]


def part(machine: dict[str, str]) -> Path:
    (found,) = Path(machine["HF_HOME"]).glob("hub/*/blobs/*.part")
    return found


async def run(machine: dict[str, str], *arguments: str, code: int | None = 0) -> str:
    """Run a command and return all that it wrote; None = whatever it ends with."""
    process = await asyncio.create_subprocess_exec(
        *(LAB, *arguments),
        env=machine,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written = (await process.communicate())[0].decode()
    assert "Traceback" not in written, written
    assert code in (None, process.returncode), written
    return written


async def test_a_model_is_added_pulled_pinned_and_answers(
    machine: dict[str, str], hub: ModelHub
) -> None:
    added = await run(machine, "models", "add", MODEL)
    assert hub.sent == []  # no weights
    before = await run(machine, "models", "list")

    pulled = await run(machine, "models", "pull", MODEL)
    after = await run(machine, "models", "list")
    again = await run(machine, "models", "pull", MODEL)
    answer = await run(machine, "chat", "-m", MODEL, "--seed", "1", "Hello.")

    assert f"lab models pull {MODEL}" in added
    assert f"{MODEL} chat 512 no no".split() == line_of(MODEL, before)[1:6]
    assert line_of(MODEL, after)[4:6] == ["0.6", "MB"]
    assert f"pinned to {hub.commit(MODEL)}" in pulled
    assert "0.6 MB of it here already" in again
    assert [name for name, _ in hub.sent] == [WEIGHTS]  # once, and not again to be loaded
    assert answer.strip()


def line_of(name: str, listed: str) -> list[str]:
    (line,) = [line for line in listed.splitlines() if line.startswith(f"{name} ")]
    return line.split()


async def test_what_was_fetched_is_served_though_the_hub_has_something_newer(
    machine: dict[str, str], hub: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL)
    await run(machine, "models", "pull", MODEL)
    first, weights = hub.commit(MODEL), hub.models[MODEL] / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")

    hub.sent.clear()
    await run(machine, "chat", "-m", MODEL, "Hello.")
    assert hub.sent == []
    newer = await run(machine, "models", "pull", MODEL, "--revision", "main")

    assert first != hub.commit(MODEL)
    assert f"pinned to {hub.commit(MODEL)}" in newer
    assert [name for name, _ in hub.sent] == [WEIGHTS]
    assert "yes" not in line_of(MODEL, await run(machine, "models", "list"))  # the older one left


async def test_a_connection_that_breaks_goes_on_where_it_broke(
    machine: dict[str, str], long: ModelHub
) -> None:
    long.breaks_after = [BREAK, 0]
    await run(machine, "models", "add", MODEL)

    await run(machine, "models", "pull", MODEL)

    assert of_big(long) == [None, f"bytes={2 * CHUNK}-", f"bytes={2 * CHUNK}-"]


async def test_what_ctrl_c_stopped_goes_on_where_it_stopped(
    machine: dict[str, str], long: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL)
    size = (long.models[MODEL] / BIG).stat().st_size
    long.breaks_after = [BREAK, *[0] * 20]  # nothing more comes until it is stopped
    process = await asyncio.create_subprocess_exec(
        # A shell starts what runs in the background with SIGINT ignored.
        *("env", "--default-signal=INT", LAB, "models", "pull", MODEL),
        env=machine,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        while len(long.sent) < 2:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stopped = (await process.communicate())[0].decode()
    kept = part(machine).stat().st_size
    long.breaks_after, long.sent = [], []

    pulled = await run(machine, "models", "pull", MODEL)

    assert process.returncode == 130
    assert "the same command goes on from here" in stopped
    assert "Traceback" not in stopped
    assert kept == 2 * CHUNK
    assert long.sent == [(BIG, f"bytes={kept}-"), (WEIGHTS, None)]
    assert "21.0 MB of it here already" in pulled
    assert size in {blob.stat().st_size for blob in blobs(machine)}


async def test_a_hub_that_stays_away_is_said_and_what_came_is_kept(
    machine: dict[str, str], long: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL)
    long.breaks_after = [BREAK, *[0] * 20]

    failed = await run(machine, "models", "pull", MODEL, code=1)
    listed = await run(machine, "models", "list")

    assert "could not be reached" in failed
    assert "what came is kept" in failed
    assert part(machine).stat().st_size == 2 * CHUNK
    assert line_of(MODEL, listed)[4] == "no"


async def test_a_file_that_comes_damaged_is_not_kept(
    machine: dict[str, str], hub: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL)
    hub.damaged = True

    failed = await run(machine, "models", "pull", MODEL, code=1)

    assert f"{WEIGHTS} of `{MODEL}` came damaged: its SHA-256 is" in failed
    assert not [blob for blob in blobs(machine) if blob.stat().st_size > 500_000]
    hub.damaged = False
    await run(machine, "models", "pull", MODEL)


async def test_a_disk_without_room_is_said_before_anything_is_fetched(
    machine: dict[str, str], hub: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL)
    hub.claimed_bytes = {WEIGHTS: 10**17}

    failed = await run(machine, "models", "pull", MODEL, code=1)

    assert "needs 100000000.0 GB more on the disk of" in failed
    assert "free some, or set HF_HOME" in failed
    assert hub.sent == []


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("acme/none", (), "There is no model `acme/none` on http"),
        ("acme/private", (), "or it is private; check the id, or set HF_TOKEN"),
        (MODEL, ("--revision", "v9"), f"`{MODEL}` has no revision `v9`"),
        ("no id of the hub!", (), "no Hugging Face id, which looks like `owner/name`"),
    ],
)
async def test_what_the_hub_has_not_is_refused(
    machine: dict[str, str], model: str, options: tuple[str, ...], said: str
) -> None:
    failed = await run(machine, "models", "add", model, "--name", "x", *options, code=1)

    assert said in failed


async def test_a_gated_model_says_where_its_terms_are_and_opens_by_a_token(
    machine: dict[str, str], hub: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL)
    hub.gated = {MODEL: "hf_right"}

    for token in ({}, {"HF_TOKEN": "hf_wrong"}):
        failed = await run(machine | token, "models", "pull", MODEL, code=1)
        assert f"is gated on {hub.url}: accept its terms at {hub.url}/{MODEL}" in failed
        assert "hf_wrong" not in failed
    await run(machine | {"HF_TOKEN": "hf_right"}, "models", "pull", MODEL)


async def test_a_model_without_a_chat_template_is_refused_before_its_weights_are_fetched(
    machine: dict[str, str], hub: ModelHub
) -> None:
    (hub.models[MODEL] / "chat_template.jinja").unlink()

    failed = await run(machine, "models", "add", MODEL, code=1)

    assert "has no chat template" in failed
    assert hub.sent == []


async def test_the_revision_of_an_embedding_model_stays_a_setting(
    machine: dict[str, str], hub: ModelHub
) -> None:
    hub.models["acme/encoder"] = minilm_folder()
    await run(machine, "models", "add", "acme/encoder", "--task", "embedding")

    pulled = await run(machine, "models", "pull", "acme/encoder")
    await run(machine, "models", "remove", "acme/encoder")

    commit = hub.commit("acme/encoder")
    assert f"LAB_EMBEDDING_MODEL=acme/encoder and LAB_EMBEDDING_REVISION={commit}" in pulled


async def test_what_an_added_model_needs_is_shown_by_its_name(
    machine: dict[str, str], hub: ModelHub
) -> None:
    await run(machine, "models", "add", MODEL, "--name", "mine")

    shown = await run(machine, "models", "show", "mine")
    await run(machine, "models", "remove", "mine")

    assert "It would be loaded as none." in shown


async def test_a_folder_has_nothing_to_pull(machine: dict[str, str]) -> None:
    failed = await run(machine, "models", "pull", "lab-tiny", code=1)

    assert "`lab-tiny` comes from a folder" in failed
