"""What is asked of models of speech, and what they give. Imports no torch."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lab.pipelines.speech.sound import Sound
from lab.protocols import FloatArray
from lab.schemas.model import Model
from lab.schemas.transcription_segment import TranscriptionSegment


@dataclass(frozen=True, slots=True)
class Heard:
    """
    A step of listening.

    Attributes
    ----------
    seconds : float
        How much of the sound is done.
    segments : sequence of TranscriptionSegment
        What was understood since the step before.
    language : str or None
        In which it is said; None = the model knows one only, or nothing is said yet.
    """

    seconds: float
    segments: Sequence[TranscriptionSegment] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """
    A part of a text, spoken.

    Attributes
    ----------
    wave : array of shape (N,)
        One channel, in [-1, 1].
    rate : int
        Samples a second.
    """

    wave: FloatArray
    rate: int


@dataclass(frozen=True, slots=True)
class Saying:
    """
    A text to speak.

    Attributes
    ----------
    text : str
        What.
    voice : int
        Which of the model's, from 0.
    speed : float
        1 = as the model speaks.
    seed : int
        The same seed, the same speech.
    """

    text: str
    voice: int = 0
    speed: float = 1.0
    seed: int = 0


class TranscriptionPipeline(Protocol):
    """A model that writes down what is said, one recording at a time."""

    @property
    def model(self) -> Model:
        """The model."""
        ...

    def transcribe(
        self, sound: Sound, *, language: str | None = None, translate: bool = False
    ) -> AsyncGenerator[Heard, None]:
        """Yield what is understood, step by step; closing the generator stops it."""
        ...


class SpeechPipeline(Protocol):
    """A model that speaks, one text at a time."""

    @property
    def model(self) -> Model:
        """The model."""
        ...

    def speak(self, saying: Saying) -> AsyncGenerator[Spoken, None]:
        """Yield a text part by part, spoken; closing the generator stops it."""
        ...
