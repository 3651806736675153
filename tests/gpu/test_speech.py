"""Speech on an accelerator: as on the CPU, and in the memory that was foretold."""

import gc
from collections.abc import Callable
from contextlib import aclosing
from io import BytesIO

import numpy as np
import pytest

from lab.pipelines.catalog import configured
from lab.pipelines.speech.asking import Saying
from lab.pipelines.speech.hearing import WhisperTranscription
from lab.pipelines.speech.sound import open_sound
from lab.pipelines.speech.speaking import VitsSpeech
from lab.protocols import FloatArray
from lab.schemas.model import Model
from lab.schemas.speech_config import SpeechConfig
from lab.schemas.task import Task
from lab.schemas.transcription_config import TranscriptionConfig
from tests.gpu.test_memory import allocated, most_allocated
from tests.sounds import sound_file, tone
from tests.tiny_speech import save_tiny_vits, save_tiny_whisper

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "tiny-whisper")
    return configured(str(folder), None, Task.transcription)


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = save_tiny_vits(tmp_path_factory.mktemp("vits") / "tiny-vits", n_voices=2)
    return configured(str(folder), None, Task.speech)


async def heard(model: Model, config: TranscriptionConfig, seconds: int) -> list[str]:
    """Return what is understood of a tone, with the model closed again."""
    ears = WhisperTranscription.load(model, config)
    sound = open_sound(BytesIO(sound_file(tone(seconds))), 1000)
    try:
        async with aclosing(ears.transcribe(sound, language="de")) as steps:
            return [segment.text async for step in steps for segment in step.segments]
    finally:
        ears.close()


async def spoken(model: Model, device: str) -> FloatArray:
    """Return a text, spoken, with the model closed again."""
    voice = VitsSpeech.load(model, SpeechConfig(device=device))
    try:
        async with aclosing(voice.speak(Saying("good morning", voice=1, seed=3))) as parts:
            return np.concatenate([part.wave async for part in parts])
    finally:
        voice.close()


async def test_it_hears_and_speaks_as_on_the_cpu(
    whisper: Model, vits: Model, device: str, exact: None
) -> None:
    ears = [await heard(whisper, TranscriptionConfig(device=one), 40) for one in (device, "cpu")]
    voices = [await spoken(vits, one) for one in (device, "cpu")]

    assert ears[0] == ears[1]
    np.testing.assert_allclose(voices[0], voices[1], atol=1e-3)


async def test_memory_is_as_foretold_and_comes_back(
    whisper: Model, device: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    config = TranscriptionConfig(device=device)
    (need,) = WhisperTranscription.foretell(whisper, config).needs.values()
    gc.collect()
    before = allocated(device)
    assert await heard(whisper, config, 300)
    peak = most_allocated(device) - before
    gc.collect()

    record_testsuite_property("whisper_peak_mb", [round(peak / 1e6), round(need.total / 1e6)])
    if device != "cpu":  # whose allocator does not count
        assert peak <= need.total * 1.1
        assert allocated(device) - before < 0.02 * need.total
