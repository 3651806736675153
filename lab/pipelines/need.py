"""What a model needs of a device, in each form that it may be loaded in. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Generic, TypeVar

from lab.schemas.chat_config import Quantization
from lab.units import sized

FormT = TypeVar("FormT", bound=StrEnum)

FILLED: Final = 0.8
"""Part of what it may take that a model which is offloaded fills with its layers."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """
    Bytes of a device that a model takes.

    Attributes
    ----------
    weights : int
        Parameters and buffers, as they lie on the device.
    cache : int
        Keys and values of the tokens in question.
    activations : int
        What the longest step has alive at once besides.
    """

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.activations

    def __str__(self) -> str:
        parts = (
            ("weights", self.weights),
            ("keys and values", self.cache),
            ("activations", self.activations),
        )
        said = [f"{name} {sized(n)}" for name, n in parts if n]
        return f"{sized(self.total)} ({', '.join(said)})" if said[1:] else sized(self.total)


@dataclass(frozen=True, slots=True)
class Prospect(Generic[FormT]):
    """
    What a model will need of its device, told before it is loaded.

    Attributes
    ----------
    name : str
        Its name.
    devices : list of str
        Where it may run, as torch names them; one of them is chosen.
    step : str
        The longest step that is counted, in words.
    advice : str
        What to do where no form fits.
    needs : mapping
        By form, from the best answers to the least memory.
    wanted : form or None
        The one that the settings ask for; None = the first that fits.
    layer_bytes, n_layers : int
        Of the decoder layers; offloaded, as many of them lie on the device as there is room for.
    token_bytes : int
        Keys and values of one token of one answer.
    beside : mapping
        By device, the further ones that it takes when that is its first, as much of each.
    """

    name: str
    devices: list[str]
    step: str
    advice: str
    needs: Mapping[FormT, MemoryNeed]
    wanted: FormT | None = None
    layer_bytes: int = 0
    n_layers: int = 0
    token_bytes: int = 0
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def span(self, device: str) -> tuple[str, ...]:
        """Return all devices that it takes when this is its first."""
        return device, *self.beside.get(device, ())

    def choose(self, limit: int) -> FormT | None:
        """Return the wanted form, or else the first, that fits; None where none does."""
        forms = self.needs if self.wanted is None else (self.wanted,)
        return next((form for form in forms if self.needs[form].total <= limit), None)

    def need(self, form: FormT, limit: int) -> MemoryNeed:
        """Return what a form takes where it may take up to a limit."""
        need = self.needs[form]
        if form is not Quantization.offload:
            return need
        # What is left makes room for keys and values to grow.
        room = int(limit * FILLED) - need.total
        n_there = min(max(room // self.layer_bytes, 0), self.n_layers)
        return replace(need, weights=need.weights + n_there * self.layer_bytes)

    def reason(self, form: FormT, device: str, limit: int) -> str:
        """Return why a form and a device were chosen, in numbers."""
        larger = [
            f"{other} would need {sized(need.total)}"
            for other, need in self.needs.items()
            if need.total > limit
        ]
        may = f"{sized(limit)} of {device} may be taken"
        return "; ".join([f"{form} needs {self.need(form, limit)}, {may}", *larger])

    def refusal(self, device: str, limit: int, why: str) -> str:
        """Return why no wanted form fits and what would; `why` says what sets the limit."""
        forms = list(self.needs)
        smallest = min(forms, key=lambda form: self.needs[form].total)
        least = self.needs[smallest]
        need = least if self.wanted is None else self.needs[self.wanted]
        fitting = next((form for form in forms if self.needs[form].total <= limit), None)
        if fitting is not None:
            size = sized(self.needs[fitting].total)
            advice = f"It would fit with LAB_CHAT_QUANTIZATION={fitting} ({size})."
        else:
            advice = self.advice
            if forms[1:]:
                advice = f"As {smallest} it would need {sized(least.total)}. {advice}"
        return (
            f"`{self.name}` does not fit: it needs {need} {self.step}, and may take "
            f"{sized(limit)} of {device} ({why}). {advice}"
        )


def smaller(setting: str) -> str:
    """Return what to do where a model does not fit; `setting` makes its longest step smaller."""
    return f"Choose a smaller model, a device with more memory, or a smaller {setting}."
