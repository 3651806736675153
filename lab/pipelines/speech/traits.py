"""What models of speech can do, by their small files alone. Imports no torch."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from lab.errors import InputError
from lab.pipelines.description import read_json
from lab.pipelines.files import ABSENT, CONFIG_FILES, absent, local_folder
from lab.schemas.model import Model

WHISPER: Final = "WhisperForConditionalGeneration"
VITS: Final = "VitsModel"


@dataclass(frozen=True, slots=True)
class Ears:
    """
    What a model understands.

    Attributes
    ----------
    languages : tuple of str
        Their codes; none where it knows one only, which it does not name.
    translates : bool
        Whether it can say in English what it hears.
    """

    languages: tuple[str, ...]
    translates: bool


@dataclass(frozen=True, slots=True)
class Voices:
    """
    How a model speaks.

    Attributes
    ----------
    n_voices : int
        How many there are.
    rate : int
        Samples a second.
    """

    n_voices: int
    rate: int


def ears_of(model: Model, folder: Path | None = None) -> Ears:
    """
    Return what a model understands; its small files are fetched where they are not here.

    Raises
    ------
    InputError
        If it transcribes nothing.
    ModelLoadError
        If its files cannot be had.
    """
    folder = folder or _folder(model)
    _check_architecture(model, folder, WHISPER, "transcribes nothing", "Whisper")
    generation = read_json(folder / "generation_config.json")
    if not isinstance(generation.get("no_timestamps_token_id"), int):
        raise InputError(
            f"`{model.id}` has no generation_config.json that names its timestamps "
            "(`no_timestamps_token_id`), without which long sound cannot be followed; restore the "
            "file, or choose another model."
        )
    if not generation.get("is_multilingual"):
        return Ears((), translates=False)
    languages = tuple(sorted(name.strip("<|>") for name in generation.get("lang_to_id") or {}))
    return Ears(languages, "translate" in (generation.get("task_to_id") or {}))


def voices_of(model: Model, folder: Path | None = None) -> Voices:
    """
    Return how a model speaks; its small files are fetched where they are not here.

    Raises
    ------
    InputError
        If it does not speak, or needs a package that is not here.
    ModelLoadError
        If its files cannot be had.
    """
    folder = folder or _folder(model)
    config = _check_architecture(model, folder, VITS, "does not speak", "VITS or MMS")
    words = read_json(folder / "tokenizer_config.json")
    for flag, package in (("phonemize", "phonemizer"), ("is_uroman", "uroman")):
        if words.get(flag) and find_spec(package) is None:
            raise InputError(
                f"`{model.id}` reads what the Python package {package} makes of a text, which is "
                f"not installed; `pip install {package}` on the lab's machine, or choose another "
                "model."
            )
    return Voices(int(config.get("num_speakers") or 1), int(config.get("sampling_rate") or 16_000))


def _folder(model: Model) -> Path:
    """Return where the small files of a model are; raise `ModelLoadError` where they are not."""
    try:
        return local_folder(model, files=CONFIG_FILES)
    except ABSENT as error:
        raise absent(model, str(error)) from error


def _check_architecture(
    model: Model, folder: Path, expected: str, lack: str, family: str
) -> dict[str, Any]:
    """Return the config.json of a model of an architecture, or raise."""
    config = read_json(folder / "config.json")
    found = [str(name) for name in config.get("architectures") or []]
    if expected not in found:
        raise InputError(
            f"`{model.id}` {lack}: its config.json names {', '.join(found) or 'no architecture'}, "
            f"and {expected} is expected; choose a model of the {family} family."
        )
    return config
