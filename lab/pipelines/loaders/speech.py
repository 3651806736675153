"""Models that speak."""

from typing import TYPE_CHECKING

from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader
from lab.schemas.chat_config import Quantization
from lab.schemas.model import Model
from lab.schemas.speech_config import SpeechConfig

if TYPE_CHECKING:
    from lab.pipelines.speech.speaking import VitsSpeech


def speech_loader(config: SpeechConfig, model: Model) -> "Loader[Quantization, VitsSpeech]":
    """Return how a model is loaded."""

    def foretell() -> Prospect[Quantization]:
        from lab.pipelines.speech.speaking import VitsSpeech  # noqa: PLC0415 - imports torch

        return VitsSpeech.foretell(model, config)

    def load(form: Quantization, growth: Growth) -> "VitsSpeech":
        from lab.pipelines.speech.speaking import VitsSpeech  # noqa: PLC0415 - imports torch

        return VitsSpeech.load(model, config.model_copy(update={"device": growth.device}))

    return Loader(foretell, load)
