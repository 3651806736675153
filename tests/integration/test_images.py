"""What a person does with pictures: make them, change them, keep them, delete them."""

import asyncio
import gc
import json
import signal
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openai
import psutil
import pytest
from PIL import Image

from lab.client import Picture, connect
from lab.db import Database
from lab.errors import (
    DocumentTooLargeError,
    InputError,
    MediaTypeError,
    ModelLoadError,
    NotFoundError,
    UnknownModelError,
)
from lab.schemas.image_event import ImageEvent
from lab.schemas.user import User
from tests.api_server import Api, running_api
from tests.commands import command, start
from tests.pictures import png, png_of_size
from tests.tiny_diffusers import save_tiny_flux, save_tiny_lora, save_tiny_stable_diffusion

pytestmark = pytest.mark.integration

QUICK: dict[str, Any] = {"size": "64x64", "steps": 3, "seed": 7}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two pipelines and LoRA weights for the first."""
    folder = tmp_path_factory.mktemp("images")
    stable = save_tiny_stable_diffusion(folder / "tiny-sd")
    save_tiny_flux(folder / "tiny-flux")
    save_tiny_lora(stable, folder / "ink.safetensors")
    (folder / "torn.safetensors").write_bytes((folder / "ink.safetensors").read_bytes()[:-100])
    return folder


@pytest.fixture(scope="module")
async def image_api_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> AsyncIterator[Api]:
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path_factory.mktemp("image-api")),
        "LAB_IMAGE_MODEL": str(models / "tiny-sd"),
        "LAB_IMAGE_MAX_PIXELS": str(128 * 128),
        "LAB_IMAGE_LORAS": f"{models / 'ink.safetensors'},{models / 'torn.safetensors'}",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def image_api(image_api_app: Api, database: Database) -> AsyncIterator[Api]:
    yield image_api_app
    await image_api_app.until_idle()


@pytest.fixture(scope="module")
async def flux_api_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> AsyncIterator[Api]:
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path_factory.mktemp("flux-api")),
        "LAB_IMAGE_MODEL": str(models / "tiny-flux"),
        "LAB_IMAGE_MAX_PIXELS": str(64 * 64),
        "LAB_IMAGE_LOW_MEMORY": "on",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def flux_api(flux_api_app: Api, database: Database) -> Api:
    return flux_api_app


async def until_unused(api: Api) -> None:
    """Wait until nobody has a lease on the image model."""
    ledger = api.app.state.runtime.pipelines.residents.ledger
    async with asyncio.timeout(20):
        while any(h.uses for h in ledger.holdings.values() if h.name.startswith("tiny-")):
            await asyncio.sleep(0.02)


async def test_a_picture_comes_step_by_step_and_is_kept_with_what_made_it(
    image_api: Api, ann: str, bob: str
) -> None:
    steps: list[ImageEvent] = []
    async with connect(image_api.url, ann) as lab, connect(image_api.url, bob) as other:
        picture = await lab.images.generate("a red boat", on_progress=steps.append, **QUICK)
        again = await lab.images.generate("a red boat", **QUICK)
        else_ = await lab.images.generate("a red boat", **{**QUICK, "seed": 8})
        kept = await lab.images.get(picture.id)
        listed = await lab.images.list()
        theirs = await other.images.list()
        with pytest.raises(NotFoundError):
            await other.images.get(picture.id)
        await lab.images.delete(else_.id)
        left = await lab.images.list()

    assert [(e.step, e.n_steps) for e in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert size_of(picture.content) == (64, 64)
    assert picture._repr_png_() == picture.content == again.content == kept.content
    assert else_.content != picture.content
    assert (kept.image.prompt, kept.image.model) == ("a red boat", "tiny-sd")
    assert kept.parameters == {"size": "64x64", "seed": 7, "steps": 3, "guidance": 7.5}
    assert [image.id for image in listed] == [else_.id, again.id, picture.id]
    assert theirs == []
    assert [image.id for image in left] == [again.id, picture.id]


async def test_the_client_of_openai_makes_changes_and_streams_pictures(
    image_api: Api, ann: str
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{image_api.url}/v1", api_key=ann) as client:
        extra = {"seed": 7, "steps": 2}
        made = await client.images.generate(
            model="tiny-sd",
            prompt="a red boat",
            n=2,
            size="64x64",
            response_format="b64_json",
            extra_body=extra,
        )
        first, second = (b64decode(one.b64_json or "") for one in made.data or [])
        edited = await client.images.edit(
            image=("boat.png", first),
            mask=("mask.png", png(64, 64, mode="L", color=255)),
            prompt="a blue boat",
            extra_body={**extra, "strength": 0.9},
        )
        stream = await client.images.generate(
            model="tiny-sd",
            prompt="a red boat",
            size="64x64",
            stream=True,
            extra_body=extra,
        )
        events = [event async for event in stream]
    async with connect(image_api.url, ann) as lab:
        seeds = [image.parameters["seed"] for image in await lab.images.list()]

    assert first != second
    assert [size_of(b64decode(one.b64_json or "")) for one in edited.data or []] == [(64, 64)]
    assert [event.type for event in events[:-1]] == ["progress"] * 3
    assert events[-1].type == "image_generation.completed"
    assert b64decode(events[-1].b64_json) == first
    assert seeds == [7, 7, 8, 7]


async def test_an_edit_begins_from_a_picture_and_leaves_what_the_mask_leaves(
    image_api: Api, ann: str
) -> None:
    async with connect(image_api.url, ann) as lab:
        boat = await lab.images.generate("a red boat", **QUICK)
        blue = await lab.images.edit(boat, "a blue boat", strength=0.5, steps=4, seed=1)
        large = await lab.images.edit(png(300, 150), "a boat", steps=4, seed=1)
        hole = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
        hole.paste((0, 0, 0, 0), (0, 0, 32, 64))
        file = BytesIO()
        hole.save(file, "PNG")
        part = await lab.images.edit(boat, "a boat", mask=file.getvalue(), steps=4, seed=1)
        listed = await lab.images.list()

    assert blue.content != boat.content
    assert blue.image.source_id == boat.id
    assert blue.parameters["strength"] == 0.5
    assert large.image.source_id is None
    assert large.parameters["size"] == "176x88"
    assert part.parameters["mask"] is True
    assert len(listed) == 4


async def test_lora_weights_change_a_picture_and_come_off_again(image_api: Api, ann: str) -> None:
    async with connect(image_api.url, ann) as lab:
        plain = await lab.images.generate("a red boat", **QUICK)
        inked = await lab.images.generate("a red boat", lora="ink", **QUICK)
        half = await lab.images.generate("a red boat", lora="ink", lora_scale=0.5, **QUICK)
        again = await lab.images.generate("a red boat", **QUICK)
        with pytest.raises(InputError, match=r"Unknown LoRA `inc`. Did you mean `ink`"):
            await lab.images.generate("a red boat", lora="inc", **QUICK)
        with pytest.raises(ModelLoadError, match=r"LoRA `torn`.*torn\.safetensors is .*damaged"):
            await lab.images.generate("a red boat", lora="torn", **QUICK)
        after = await lab.images.generate("a red boat", **QUICK)

    assert len({plain.content, inked.content, half.content}) == 3
    assert plain.content == again.content == after.content
    assert inked.parameters["lora"] == "ink"
    assert half.parameters["lora_scale"] == 0.5


async def test_another_architecture_in_tiles(flux_api: Api, ann: str) -> None:
    async with connect(flux_api.url, ann) as lab:
        boat = await lab.images.generate("a red boat", steps=2, seed=1)
        again = await lab.images.generate("a red boat", steps=2, seed=1)
        blue = await lab.images.edit(boat, "a blue boat", steps=4, strength=0.5, seed=1)
        mask = png(64, 64, mode="L", color=255)
        part = await lab.images.edit(boat, "a boat", mask=mask, steps=4, strength=0.5, seed=1)
        with pytest.raises(InputError, match="`negative_prompt`: the image model"):
            await lab.images.generate("a boat", negative_prompt="rain")
        (model,) = [m for m in await lab.models() if m.task == "image"]
        report = await lab.residents.report()

    assert boat.content == again.content
    assert boat.parameters["size"] == "64x64"  # which is what fits LAB_IMAGE_MAX_PIXELS
    assert len({boat.content, blue.content, part.content}) == 3
    assert (model.id, model.loaded) == ("tiny-flux", True)
    (resident,) = [one for one in report.models if one.model == "tiny-flux"]
    assert resident.form == "tiled"
    assert any("tiled needs" in one.reason for one in report.decisions)


async def test_one_at_a_time_and_who_leaves_stops_at_the_next_step(
    image_api: Api, ann: str, bob: str
) -> None:
    long: dict[str, Any] = {"size": "128x128", "steps": 150, "seed": 1}
    async with connect(image_api.url, ann) as lab, connect(image_api.url, bob) as other:
        async with aclosing(lab.images.events("a red boat", **long)) as events:
            async for event in events:
                if isinstance(event, ImageEvent) and event.step == 2:
                    waiting = asyncio.create_task(other.images.generate("a boat", **QUICK))
                    break
            seen = [await anext(events) for _ in range(3)]
            busy = image_api.load().leases
        picture = await waiting
        await until_unused(image_api)
        kept = await lab.images.list()

    assert [e.step for e in seen if isinstance(e, ImageEvent)] == [3, 4, 5]
    assert busy == 2
    assert picture.image.prompt == "a boat"
    assert kept == []


async def test_pictures_are_in_exports_and_forgotten_with_their_user(
    image_api: Api, ann: str, database: Database, owner: User
) -> None:
    async with connect(image_api.url, ann) as lab:
        await lab.images.generate("a red boat", **QUICK)
        exported = ZipFile(BytesIO(await lab.export()))
    async with database.accounts() as accounts:
        await accounts.delete(owner.name)
    async with database.stores(owner.id) as stores:
        left = [await stores.images.list(), await stores.files.list()]

    (row,) = exported.read("images.jsonl").decode().splitlines()
    assert json.loads(row)["prompt"] == "a red boat"
    assert json.loads(row)["parameters"]["seed"] == 7
    assert left == [[], []]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "65x64"}, "must be multiples of 8, such as 64x64"),
        ({"size": "4096x64"}, r"too large; at most 16,384 pixels.*LAB_IMAGE_MAX_PIXELS"),
        ({"size": "99999x99999"}, "too large"),
        ({"size": "large"}, "write width and height in pixels"),
        ({"size": "-64x64"}, "write width and height in pixels"),
        ({"steps": 151}, "at most 150 are taken"),
        ({"n": 9}, "at most 4 pictures"),
        ({"strength": 0.5}, "it is of edits"),
        ({"response_format": "url"}, "sends the bytes"),
        ({"output_format": "webp"}, "makes PNG"),
        ({"seed": 2**33}, "less than or equal"),
    ],
)
async def test_what_the_model_does_not_take_is_refused(
    image_api: Api, ann: str, options: dict[str, Any], message: str
) -> None:
    async with connect(image_api.url, ann) as lab:
        with pytest.raises(InputError, match=message):
            await lab.images.generate("a red boat", **options)
        with pytest.raises(InputError, match="NUL character"):
            await lab.images.generate("a\0b")
        with pytest.raises(UnknownModelError, match="tiny-sd"):
            await lab.images.generate("a boat", model="tiny-sdd")
        assert await lab.images.list() == []


async def test_what_is_no_picture_is_refused_and_nothing_is_kept(image_api: Api, ann: str) -> None:
    boat = png(64, 64)
    bad = {
        b"": (InputError, "0 bytes"),
        b"%PDF-1.7 no picture": (MediaTypeError, "no picture that is taken here"),
        b"GIF89a" + bytes(100): (MediaTypeError, "no picture that is taken here"),
        boat[:-60]: (MediaTypeError, "damaged"),
        png_of_size(9_000, 9_000): (DocumentTooLargeError, "9,000 × 9,000"),
        png_of_size(10_000, 10_000): (DocumentTooLargeError, "too many pixels.*and 25,000,000 are"),
        png_of_size(20_000, 20_000): (DocumentTooLargeError, "too many pixels"),
    }
    async with connect(image_api.url, ann) as lab, image_api.client(ann) as client:
        before = psutil.Process().memory_info().rss
        for content, (kind, message) in bad.items():
            with pytest.raises(kind, match=message):
                await lab.images.edit(content, "a boat", steps=2)
            with pytest.raises(kind, match=message):
                await lab.images.edit(boat, "a boat", mask=content, steps=2)
        grown = psutil.Process().memory_info().rss - before
        missing = await client.post("/v1/images/edits", data={"prompt": "a boat"}, files={})
        text = await client.post(
            "/v1/images/edits", data={"prompt": "a boat", "image": "boat.png"}, files=[]
        )
        two = await client.post(
            "/v1/images/edits",
            data={"prompt": "a boat"},
            files=[("image[]", ("a.png", boat)), ("image[]", ("b.png", boat))],
        )
        wrong = await client.post(
            "/v1/images/edits",
            data={"prompt": "a boat", "steps": "many"},
            files={"image": ("a.png", boat)},
        )
        unknown = await client.post(
            "/v1/images/edits",
            data={"prompt": "a boat", "stepps": "3"},
            files={"image": ("a.png", boat)},
        )
        fine = await lab.images.edit(boat, "a boat", steps=2)
        kept = await lab.images.list()

    assert grown < 100e6
    assert "`image`: no picture came" in missing.text
    assert "`image`: no picture came" in text.text
    assert "one picture is edited at a time" in two.text
    assert "`steps`" in wrong.json()["error"]["message"]
    assert "`stepps`" in unknown.json()["error"]["message"]
    assert {one.status_code for one in (missing, text, two, wrong, unknown)} == {400}
    assert [image.id for image in kept] == [fine.id]


async def test_a_lab_without_an_image_model_says_which_setting_to_give(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(InputError, match="Set LAB_IMAGE_MODEL"):
            await lab.images.generate("a red boat")
        assert await lab.images.list() == []


async def test_a_picture_on_the_command_line(image_api: Api, ann: str, tmp_path: Path) -> None:
    boat, blue = tmp_path / "boat.png", tmp_path / "blue.png"
    options = ("--size", "64x64", "--steps", "3", "--seed", "7")
    made = await command(image_api, ann, "image", "a red boat", "-o", str(boat), *options)
    over = await command(image_api, ann, "image", "a red boat", "-o", str(boat), *options)
    edited = await command(
        image_api,
        ann,
        "image",
        "a blue boat",
        "--edit",
        str(boat),
        "-o",
        str(blue),
        "--strength",
        "0.8",
    )
    wrong = await command(
        image_api, ann, "image", "a boat", "-o", str(tmp_path / "no.png"), "--size", "big"
    )

    assert made[0] == 0
    assert "tiny-sd, seed 7, 64x64" in made[1]
    assert size_of(boat.read_bytes()) == (64, 64)
    assert over[0] == 1
    assert "exists" in over[1]
    assert edited[0] == 0
    assert wrong == (1, wrong[1])
    assert "Error: `size`: 'big' is none" in wrong[1]
    assert "Traceback" not in "".join(text for _, text in (made, over, edited, wrong))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["blue.png", "boat.png"]


async def test_ctrl_c_stops_the_picture_and_leaves_no_file(
    image_api: Api, ann: str, tmp_path: Path
) -> None:
    long = ("--size", "128x128", "--steps", "150")
    process = await start(
        image_api, ann, "image", "a boat", "-o", str(tmp_path / "boat.png"), *long
    )
    async with asyncio.timeout(60):
        while not image_api.load().leases:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    await until_unused(image_api)

    assert process.returncode == 130
    assert "Stopped; nothing was written." in errors.decode()
    assert "Traceback" not in errors.decode()
    assert list(tmp_path.iterdir()) == []


async def test_memory_is_back_after_the_model_left(image_api: Api, ann: str) -> None:
    pipelines = image_api.app.state.runtime.pipelines
    async with connect(image_api.url, ann) as lab:
        await lab.images.generate("a red boat", **QUICK)
        (there,) = [m for m in pipelines.residency().models if m.model == "tiny-sd"]
        await pipelines.unload("tiny-sd")
        gone = [m for m in pipelines.residency().models if m.model == "tiny-sd"]
        gc.collect()
        networks = [one for one in gc.get_objects() if type(one).__name__ == "UNet2DConditionModel"]
        again = await lab.images.generate("a red boat", **QUICK)

    assert 0 < there.used_bytes <= there.foretold_bytes
    assert gone == []
    assert networks == []
    assert isinstance(again, Picture)


def size_of(content: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(content)) as picture:
        return picture.size
