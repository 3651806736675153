import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from PIL import Image
from torch import nn

from lab.errors import InputError, ModelLoadError, NoRoomError, RateLimitError, UnavailableError
from lab.pipelines import PipelineFactory, pipeline_factory
from lab.pipelines.catalog import configured
from lab.pipelines.imaging.drawing import Drawing, ImagePipeline, Step
from lab.pipelines.imaging.foretelling import foresee, forms
from lab.pipelines.imaging.forms import ImageForm
from lab.pipelines.imaging.pipeline import DiffusersImages
from lab.pipelines.imaging.rehearsal import networks_of
from lab.pipelines.memory import Alive
from lab.pipelines.need import MemoryNeed
from lab.schemas.chat_config import ChatConfig
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.image_config import ImageConfig
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.task import Task
from tests.tiny_diffusers import (
    save_stable_diffusion,
    save_tiny_flux,
    save_tiny_lora,
    save_tiny_stable_diffusion,
)

SIDE = 64
BOAT = Drawing("a red boat", SIDE, SIDE, seed=1, steps=2)


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("sd") / "tiny-sd")


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_flux(tmp_path_factory.mktemp("flux") / "tiny-flux")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion as deep as usual, in which decoding takes the most memory."""
    return save_stable_diffusion(tmp_path_factory.mktemp("usual") / "usual-sd", width=64, side=256)


def config(folder: Path, **options: Any) -> ImageConfig:
    values = {"model": str(folder), "max_pixels": SIDE * SIDE, "device": "cpu", **options}
    return ImageConfig.model_validate(values)


def factory_of(image: ImageConfig, llama: Path | None = None, **residency: Any) -> PipelineFactory:
    chat = ChatConfig(threads=1, **({} if llama is None else {"model": str(llama)}))
    return pipeline_factory(chat, EmbeddingConfig(), ResidencyConfig(**residency), image=image)


async def drawn(pipeline: ImagePipeline, drawing: Drawing = BOAT) -> bytes:
    async with aclosing(pipeline.draw(drawing)) as steps:
        found = [step async for step in steps]
    assert isinstance(found[-1], bytes)
    return found[-1]


@pytest.fixture
async def factory(stable: Path) -> AsyncIterator[PipelineFactory]:
    factory = factory_of(config(stable))
    yield factory
    await factory.aclose()


def model_of(folder: Path) -> Any:
    return configured(str(folder), None, Task.image)


@pytest.mark.parametrize("save", [save_tiny_stable_diffusion, save_tiny_flux])
@pytest.mark.parametrize("form", [ImageForm.whole, ImageForm.tiled])
async def test_what_is_foretold_is_what_is_alive(
    tmp_path: Path, save: Callable[[Path], Path], form: ImageForm
) -> None:
    """Counted as the network runs for real, so without what a kernel takes for itself."""
    folder = save(tmp_path / "model")
    low = "off" if form is ImageForm.whole else "on"
    settings = config(folder, low_memory=low, max_pixels=128 * 128)
    ahead = foresee(model_of(folder), settings).prospect
    (chosen,) = ahead.needs
    need = ahead.needs[chosen]

    images = DiffusersImages.load(model_of(folder), settings, chosen)
    base = images._makers["make"]
    alive = Alive(nn.ModuleList(networks_of(base).values()))
    with torch.inference_mode(), alive:
        base("a boat", width=128, height=128, num_inference_steps=2)
    used = images.n_bytes
    images.close()

    assert chosen is form
    assert used == pytest.approx(need.weights, rel=0.1)
    assert alive.peak <= need.activations * 1.1
    assert used + alive.peak == pytest.approx(need.total, rel=0.2)
    assert f"{128} × {128}" in ahead.step


async def test_tiles_take_less(usual: Path) -> None:
    whole, tiled = (
        foresee(model_of(usual), config(usual, low_memory=low, max_pixels=256 * 256)).prospect
        for low in ("off", "on")
    )
    before, after = (next(iter(p.needs.values())) for p in (whole, tiled))

    assert after.weights == before.weights
    assert after.activations < 0.6 * before.activations


async def test_weights_that_come_when_they_are_due_make_the_same_pictures(
    stable: Path, tmp_path: Path
) -> None:
    """On a CPU, to which they come from itself; what a GPU saves is in `tests/gpu`."""
    lora = save_tiny_lora(stable, tmp_path / "ink.safetensors")
    settings = config(stable, loras=[str(lora)])
    edit = replace(BOAT, image=Image.new("RGB", (SIDE, SIDE), "red"), strength=0.9, steps=4)
    part = replace(edit, mask=Image.new("L", (SIDE, SIDE), 255))
    drawings = [BOAT, edit, part, replace(BOAT, lora="ink"), replace(edit, lora="ink"), BOAT]

    shown = {}
    for one in (ImageForm.tiled, ImageForm.parts):
        images = DiffusersImages.load(model_of(stable), settings, one)
        shown[one] = [await drawn(images, drawing) for drawing in drawings]
        counted = images.n_bytes
        images.close()

    assert shown[ImageForm.parts] == shown[ImageForm.tiled]
    assert counted == 0
    assert len(set(shown[ImageForm.parts])) == 4  # a mask of all is none
    assert shown[ImageForm.parts][0] == shown[ImageForm.parts][-1]


async def test_requests_at_once_load_once_and_take_turns(factory: PipelineFactory) -> None:
    async def one(seed: int) -> bytes:
        async with factory.images.lease() as pipeline:
            return await drawn(pipeline, Drawing("a boat", SIDE, SIDE, seed=seed, steps=2))

    made = await asyncio.gather(*(one(seed) for seed in (1, 2, 1, 2)))
    loads = [d for d in factory.residency().decisions if d.kind is DecisionKind.loaded]

    assert made[0] == made[2] != made[1] == made[3]
    assert len(loads) == 1
    assert "whole needs" in loads[0].reason
    assert factory.stats().leases == 0


async def test_whoever_leaves_stops_it_at_the_next_step_and_the_next_has_its_turn(
    factory: PipelineFactory,
) -> None:
    async with factory.images.lease() as pipeline:
        async with aclosing(pipeline.draw(Drawing("a boat", SIDE, SIDE, 1, steps=900))) as steps:
            async for step in steps:
                if isinstance(step, Step) and step.done == 3:
                    break
        queued = pipeline.draw(BOAT)
        running = pipeline.draw(Drawing("a boat", SIDE, SIDE, 1, steps=900))
        assert await anext(running) == Step(0, 900)
        waits = asyncio.ensure_future(anext(queued))
        await asyncio.sleep(0.05)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await running.aclose()
        assert await drawn(pipeline)


async def test_more_than_may_wait_are_refused(stable: Path) -> None:
    factory = factory_of(config(stable, max_queue=0))
    async with factory.images.lease() as pipeline:
        running = pipeline.draw(Drawing("a boat", SIDE, SIDE, 1, steps=900))
        await anext(running)
        with pytest.raises(RateLimitError, match="LAB_IMAGE_MAX_QUEUE"):
            await drawn(pipeline)
        await running.aclose()
        assert await drawn(pipeline)
    await factory.aclose()


async def test_one_whose_cancelling_cannot_wait_leaves_its_place_too(stable: Path) -> None:
    """As a server drops an answer: whatever is awaited from then on is cancelled as well."""
    factory = factory_of(config(stable, max_queue=0))
    async with factory.images.lease() as pipeline:

        async def look(begun: anyio.Event) -> None:
            async for _ in pipeline.draw(Drawing("a boat", SIDE, SIDE, 1, steps=900)):
                begun.set()

        async with anyio.create_task_group() as group:
            begun = anyio.Event()
            group.start_soon(look, begun)
            await begun.wait()
            group.cancel_scope.cancel()
        async with asyncio.timeout(20):
            while True:
                with suppress(RateLimitError):
                    assert await drawn(pipeline)
                    break
                await asyncio.sleep(0.05)
    await factory.aclose()


async def test_a_lab_that_closes_ends_pictures_at_their_next_step(stable: Path) -> None:
    factory = factory_of(config(stable))
    async with factory.images.lease() as pipeline:
        running = pipeline.draw(Drawing("a boat", SIDE, SIDE, 1, steps=900))
        queued = asyncio.create_task(drawn(pipeline))
        await anext(running)
        async with asyncio.timeout(20):
            await factory.aclose()
        with pytest.raises(UnavailableError, match="taken out of memory"):
            [step async for step in running]
        with pytest.raises(UnavailableError, match="taken out of memory"):
            await queued


async def test_it_shares_the_memory_with_chat_models(stable: Path, llama_folder: Path) -> None:
    need = foresee(model_of(stable), config(stable)).prospect.needs[ImageForm.whole]
    factory = factory_of(config(stable), llama_folder, memory_gb=need.total * 1.02 / 1e9)
    try:
        async with factory.chat("default"):
            pass
        async with factory.images.lease() as pipeline:
            await drawn(pipeline)
            there = set(factory.residents.loaded)
        async with factory.chat("default"):
            after = set(factory.residents.loaded)
        evicted = [d for d in factory.residency().decisions if d.kind is DecisionKind.evicted]
    finally:
        await factory.aclose()

    assert (there, after) == ({"tiny-sd"}, {"tiny-llama"})
    assert [one.model for one in evicted] == ["tiny-sd", "tiny-llama"]
    assert "go to `tiny-sd`, which needs" in evicted[1].reason


async def test_tiles_where_it_does_not_fit_otherwise(usual: Path) -> None:
    settings = config(usual, max_pixels=256 * 256)
    needs = foresee(model_of(usual), settings).prospect.needs
    whole, tiled = needs[ImageForm.whole], needs[ImageForm.tiled]
    between = (whole.total + tiled.total) / 2
    factory = factory_of(settings, memory_gb=between / 1e9)
    small = factory_of(settings, memory_gb=tiled.total / 2e9)
    off = factory_of(config(usual, low_memory="off", max_pixels=256 * 256), memory_gb=between / 1e9)
    try:
        async with factory.images.lease() as pipeline:
            await drawn(pipeline)
            (there,) = factory.residency().models
        with pytest.raises(NoRoomError) as refused:
            async with small.images.lease():
                pass
        with pytest.raises(NoRoomError, match="or LAB_IMAGE_LOW_MEMORY=auto"):
            async with off.images.lease():
                pass
    finally:
        for one in (factory, small, off):
            await one.aclose()

    assert there.form == "tiled"
    assert "to make a picture of 256 × 256 it needs whole" in str(refused.value)
    assert "; tiled " in str(refused.value)
    assert "LAB_IMAGE_MAX_PIXELS" in str(refused.value)


def test_forms_of_a_device_that_the_host_feeds() -> None:
    small, large = nn.Linear(10, 10, bias=False), nn.Sequential(*[nn.Linear(20, 20)] * 2)
    found = forms({"a": small, "b": large}, (1000, 300), 8, on_cpu=False)

    assert found == {
        ImageForm.whole: MemoryNeed(400 + 1680 + 8, 0, 1000),
        ImageForm.tiled: MemoryNeed(400 + 1680 + 8, 0, 300),
        ImageForm.parts: MemoryNeed(1680 + 8, 0, 300),
        ImageForm.layers: MemoryNeed(1680 + 8, 0, 300),
    }


async def test_a_device_that_runs_out_says_so_and_goes_on(
    factory: PipelineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with factory.images.lease() as pipeline:
        unet = pipeline._makers["make"].unet  # type: ignore[attr-defined]
        forward = unet.forward
        for error, kind, words in (
            (torch.OutOfMemoryError("CUDA out of memory."), NoRoomError, "64 × 64.*smaller one"),
            (RuntimeError("can't allocate memory: 9 bytes"), NoRoomError, "LOW_MEMORY=on"),
            (RuntimeError("boom"), UnavailableError, "could not make the picture: boom"),
        ):
            monkeypatch.setattr(unet, "forward", _raises(error))
            with pytest.raises(kind, match=words):
                await drawn(pipeline)
            monkeypatch.setattr(unet, "forward", forward)
            assert await drawn(pipeline)


def _raises(error: Exception) -> Callable[..., None]:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    return fail


def _edit_index(folder: Path, **changes: Any) -> None:
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _cut(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _garble(folder: Path) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(b"\xff" * 1000)


def _swap(folder: Path) -> None:
    shutil.copy(
        folder / "vae" / "diffusion_pytorch_model.safetensors",
        folder / "unet" / "diffusion_pytorch_model.safetensors",
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "model_index.json").unlink(), r"no model_index\.json.*LAB_IMAGE_MODEL"),
        (lambda f: (f / "model_index.json").write_text("{"), r"model_index\.json is damaged"),
        (lambda f: (f / "model_index.json").write_text("[]"), r"no model_index\.json"),
        (lambda f: _edit_index(f, _class_name="DDPMPipeline"), "makes no pictures from text"),
        (
            lambda f: _edit_index(f, _class_name="IFPipeline"),
            "could not be loaded|none of its step",
        ),
        (lambda f: _edit_index(f, unet=["os", "system"]), "no class of diffusers"),
        (lambda f: _edit_index(f, unet=["pipeline", "Evil"]), "no class of diffusers"),
        (lambda f: _edit_index(f, unet=["diffusers", "Nothing"]), "no class of diffusers"),
        (_cut, r"unet/diffusion_pytorch_model\.safetensors is missing or damaged"),
        (_garble, r"vae/diffusion_pytorch_model\.safetensors is missing or damaged"),
        (_swap, "the files of unet hold"),
        (lambda f: shutil.rmtree(f / "vae"), "`tiny`"),
        (
            lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            "unet has no weights",
        ),
    ],
)
async def test_a_folder_that_is_no_pipeline_is_refused_before_anything_loads(
    stable: Path, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(stable, folder)
    damage(folder)
    factory = factory_of(config(folder))
    try:
        with pytest.raises(ModelLoadError, match=words):
            await factory.images.traits(None, None)
        with pytest.raises(ModelLoadError, match=words):
            async with factory.images.lease():
                pass
        assert factory.residents.loaded == {}
        shutil.rmtree(folder)
        shutil.copytree(stable, folder)
        async with factory.images.lease() as pipeline:
            assert await drawn(pipeline)
    finally:
        await factory.aclose()


async def test_an_unknown_id_says_what_to_do() -> None:
    factory = pipeline_factory(
        ChatConfig(), EmbeddingConfig(), image=ImageConfig(model="no id of the hub!")
    )

    with pytest.raises(ModelLoadError, match=r"folder.*network.*HF_TOKEN"):
        await factory.images.traits(None, None)


async def test_a_chat_model_makes_no_pictures_and_the_reverse(
    factory: PipelineFactory, llama_folder: Path
) -> None:
    with pytest.raises(InputError, match="`tiny-sd` makes pictures and cannot chat"):
        async with factory.chat("tiny-sd"):
            pass
    other = factory_of(config(llama_folder))
    with pytest.raises(ModelLoadError, match="makes no pictures"):
        await other.images.traits(None, None)


async def test_an_administrator_loads_and_unloads_it(factory: PipelineFactory) -> None:
    await factory.load("tiny-sd")
    there = {model.id for model in factory.models() if model.loaded}
    await factory.unload("tiny-sd")

    assert there == {"tiny-sd"}
    assert factory.residents.loaded == {}
