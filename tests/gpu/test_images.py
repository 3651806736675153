"""Image models on an accelerator: the forms that only it has, and what they take."""

import gc
from collections.abc import Callable
from contextlib import aclosing
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lab.pipelines.catalog import configured
from lab.pipelines.imaging.drawing import Drawing, Step
from lab.pipelines.imaging.foretelling import foresee
from lab.pipelines.imaging.forms import ImageForm
from lab.pipelines.imaging.pipeline import DiffusersImages
from lab.schemas.image_config import ImageConfig
from lab.schemas.model import Model
from lab.schemas.task import Task
from tests.gpu.test_memory import allocated, most_allocated
from tests.tiny_diffusers import save_stable_diffusion

pytestmark = pytest.mark.gpu

SIDE = 512


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A Stable Diffusion of about 80 M parameters that makes pictures of 512 x 512."""
    folder = tmp_path_factory.mktemp("models") / "middle"
    save_stable_diffusion(folder, width=128, side=SIDE)
    return configured(str(folder), None, Task.image)


def config(model: Model, device: str, dtype: str = "float32") -> ImageConfig:
    values = {"model": model.source, "device": device, "dtype": dtype, "max_pixels": SIDE * SIDE}
    return ImageConfig.model_validate(values)


async def drawn(images: DiffusersImages, drawing: Drawing) -> bytes:
    async with aclosing(images.draw(drawing)) as steps:
        (made,) = [step async for step in steps if not isinstance(step, Step)]
        return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", ImageForm)
async def test_memory_is_as_foretold_in_every_form_and_comes_back(
    middle: Model,
    device: str,
    dtype: str,
    form: ImageForm,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    if device == "cpu" and form in {ImageForm.parts, ImageForm.layers}:
        return  # which a CPU does not have
    settings = config(middle, device, dtype)
    ahead = foresee(middle, settings).prospect
    need = ahead.needs[form]
    gc.collect()
    before = allocated(device)
    images = DiffusersImages.load(middle, settings, form)
    weights = allocated(device) - before
    try:
        await drawn(images, Drawing("a boat", SIDE, SIDE, seed=1, steps=2))
        peak = most_allocated(device) - before
        boat = Image.new("RGB", (SIDE, SIDE), "red")
        edit = Drawing("a boat", SIDE, SIDE, seed=1, steps=4, strength=0.5, image=boat)
        await drawn(images, edit)
        counted = images.n_bytes
    finally:
        images.close()
    del images
    gc.collect()

    record_testsuite_property(
        f"image_{form}_{dtype}_peak_mb", [round(peak / 1e6), round(need.total / 1e6)]
    )
    if device != "cpu":  # whose allocator does not count
        assert weights == pytest.approx(counted, rel=0.1, abs=1e6)
        assert peak <= need.total * 1.1
        if form is ImageForm.whole:
            assert peak == pytest.approx(need.total, rel=0.1)
        assert allocated(device) - before < 0.02 * need.weights


async def test_the_same_seed_shows_the_same_picture_as_on_the_cpu(
    middle: Model, device: str, exact: None
) -> None:
    drawing = Drawing("a boat", 128, 128, seed=1, steps=3)
    shown = []
    for place in (device, "cpu"):
        images = DiffusersImages.load(middle, config(middle, place), ImageForm.whole)
        shown.append(np.asarray(Image.open(BytesIO(await drawn(images, drawing)))).astype(int))
        images.close()

    assert np.abs(shown[0] - shown[1]).mean() < 2  # of 255


async def test_a_stopped_picture_leaves_nothing_on_the_device(middle: Model, device: str) -> None:
    images = DiffusersImages.load(middle, config(middle, device), ImageForm.whole)
    try:
        await drawn(images, Drawing("a boat", SIDE, SIDE, seed=1, steps=1))
        before = allocated(device)
        async with aclosing(images.draw(Drawing("a boat", SIDE, SIDE, 1, steps=900))) as steps:
            async for step in steps:
                if isinstance(step, Step) and step.done == 2:
                    break
        assert allocated(device) == before
    finally:
        images.close()
