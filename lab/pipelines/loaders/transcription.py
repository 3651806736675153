"""Models that write down what is said."""

from typing import TYPE_CHECKING

from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.transcription_config import TranscriptionConfig

if TYPE_CHECKING:
    from lab.pipelines.speech.hearing import WhisperTranscription


def transcription_loader(
    config: TranscriptionConfig, model: Model
) -> "Loader[Quantization, WhisperTranscription]":
    """Return how a model is loaded."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.speech.hearing import (  # noqa: PLC0415 - imports torch
            WhisperTranscription,
        )

        return WhisperTranscription.foretell(model, config)

    def load(form: Quantization, growth: Growth) -> "WhisperTranscription":
        from lab.pipelines.speech.hearing import (  # noqa: PLC0415 - imports torch
            WhisperTranscription,
        )

        there = config.model_copy(update={"device": growth.device})
        return WhisperTranscription.load(model, there)

    return Loader(foretell, load)
