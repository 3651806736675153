"""
Which parameters of an answer a server takes, and in which words.

What a server would overlook is never sent: a request that needs it is refused, by the parameter's
name. What it takes is sent even where it changes nothing, since servers have defaults of their own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lab.errors import InputError
from lab.pipelines.remote.messages import wire_choice, wire_format
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.remote_kind import RemoteKind
from lab.schemas.response_kind import ResponseKind
from lab.schemas.tool_choice_mode import ToolChoiceMode

Wire = Callable[[Any], dict[str, Any]]
"""Takes the value of a parameter, returns what it adds to the request."""

OURS: Final = frozenset({"guards"})
"""What only answers of the lab's own engine are held to, and every person has a setting for."""

UINT32: Final = 2**32
"""Seeds of llama.cpp are below; its last one means none."""


LOOK_BACK: Final = 2**17
"""Tokens before, of which llama.cpp's penalties look at most at so many."""


def named(name: str) -> Wire:
    """Return what sends a value under a name."""
    return lambda value: {name: value}


@dataclass(frozen=True)
class Dialect:
    """
    A server's words.

    Attributes
    ----------
    always : mapping
        What is sent with every request, by parameter.
    wanted : mapping
        What is sent where it changes something.
    stops_here : bool
        Whether its answers have to be cut at stop texts by us: it leaves them standing.
    heeds_window : bool
        Whether it refuses prompts that are too long and lets answers take what is left; else we do.
    takes_names : bool
        Whether it can be told which tool to call; else it is given that one alone.
    splits_here : bool
        Whether we look for reasoning and tool calls in its text: it leaves them there, at least of
        models that it does not know.
    own_seeds : bool
        Whether a request's seed is not disturbed by other requests.
    tells_usage : bool
        Whether it tells the usage of a stream without being asked, and refuses to be.
    """

    always: Mapping[str, Wire]
    wanted: Mapping[str, Wire] = field(default_factory=dict)
    stops_here: bool = False
    heeds_window: bool = True
    takes_names: bool = True
    splits_here: bool = False
    own_seeds: bool = True
    tells_usage: bool = False

    def wire(self, parameters: GenerationParameters, *, server: str) -> dict[str, Any]:
        """
        Return what the parameters add to a request.

        Raises
        ------
        InputError
            If the server does not take one, by its name.
        """
        body: dict[str, Any] = {}
        for name, value in parameters:
            if name in OURS:
                continue
            if wire := self.always.get(name):
                _merge(body, wire(value))
            elif not _changes_nothing(name, value):
                _merge(body, self._wanted(name, server)(value))
        if "logprobs" in body:
            # Some servers give none at all where 0 are named; what is too much is cut off.
            body["top_logprobs"] = max(parameters.top_logprobs, 1)
        if isinstance(body.get("generation_config"), dict):
            body["generation_config"] = json.dumps(body["generation_config"])
        return {name: value for name, value in body.items() if value is not None}

    def _wanted(self, name: str, server: str) -> Wire:
        if name not in self.wanted:
            raise InputError(
                f"`{name}`: the server `{server}` does not take it, so it would change nothing. "
                "Leave it out, or choose a model of another server."
            )
        return self.wanted[name]


def _merge(body: dict[str, Any], added: Mapping[str, Any]) -> None:
    """Add to a request; objects of the same name become one."""
    for name, value in added.items():
        if isinstance(value, dict) and isinstance(body.get(name), dict):
            body[name].update(value)
        else:
            body[name] = value


def _changes_nothing(name: str, value: Any) -> bool:
    """Return whether a parameter has a value that asks for nothing."""
    if name == "response_format" and value is not None:
        return bool(value.type is ResponseKind.text)
    if name == "tool_choice" and value is not None:
        return value.mode in {ToolChoiceMode.auto, ToolChoiceMode.none}
    if name in {"top_logprobs", "n"}:  # goes with `logprobs`; is done by several requests
        return True
    return bool(value == GenerationParameters.model_fields[name].default)


def _seed_below_uint32(seed: int | None) -> dict[str, Any]:
    if seed is not None and seed >= UINT32 - 1:
        raise InputError(f"`seed`: llama.cpp takes 0 to {UINT32 - 2:,}, and {seed:,} came.")
    return {"seed": seed}


def _penalty_of_llama_cpp(name: str, *, nothing: float = 0) -> Wire:
    """Return what sends a penalty for all tokens before, not for the last 64 alone."""
    far = {"repeat_last_n": LOOK_BACK}
    return lambda value: {name: value} if value == nothing else {name: value, **far}


def _template(value: bool) -> dict[str, Any]:
    return {"chat_template_kwargs": {"enable_thinking": value}}


def _in_generation_config(name: str) -> Wire:
    return lambda value: {"generation_config": {name: value}}


def _temperature_of_transformers(value: float) -> dict[str, Any]:
    """Its own `temperature` does not make it sample."""
    sampling = {"do_sample": True, "temperature": value} if value else {"do_sample": False}
    return {"generation_config": sampling}


SAMPLING: Final[Mapping[str, Wire]] = {
    "max_new_tokens": named("max_tokens"),
    "temperature": named("temperature"),
    "top_p": named("top_p"),
    "seed": named("seed"),
    "stop": lambda stop: {"stop": [text for text in stop if text] or None},
}
FORMS: Final[Mapping[str, Wire]] = {
    "frequency_penalty": named("frequency_penalty"),
    "presence_penalty": named("presence_penalty"),
    "response_format": lambda form: {"response_format": wire_format(form)},
    "logprobs": named("logprobs"),
}
CHOICE: Final[Mapping[str, Wire]] = {
    "logit_bias": named("logit_bias"),
    "tool_choice": lambda choice: {"tool_choice": wire_choice(choice)},
}
OWN_SAMPLING: Final[Mapping[str, Wire]] = {
    "top_k": named("top_k"),
    "min_p": named("min_p"),
    "repetition_penalty": named("repetition_penalty"),
}

DIALECTS: Final[Mapping[RemoteKind, Dialect]] = {
    RemoteKind.openai: Dialect(SAMPLING, {**FORMS, **CHOICE}),
    RemoteKind.ollama: Dialect(SAMPLING, FORMS),
    RemoteKind.vllm: Dialect(
        {**SAMPLING, **OWN_SAMPLING, "enable_thinking": _template}, {**FORMS, **CHOICE}
    ),
    RemoteKind.lab: Dialect(
        {**SAMPLING, **OWN_SAMPLING, "enable_thinking": named("enable_thinking")},
        {**FORMS, **CHOICE},
    ),
    RemoteKind.llama_cpp: Dialect(
        {
            **SAMPLING,
            **OWN_SAMPLING,
            "seed": _seed_below_uint32,
            "repetition_penalty": _penalty_of_llama_cpp("repeat_penalty", nothing=1),
            "enable_thinking": _template,
        },
        {
            **FORMS,
            **CHOICE,
            "frequency_penalty": _penalty_of_llama_cpp("frequency_penalty"),
            "presence_penalty": _penalty_of_llama_cpp("presence_penalty"),
            "tool_choice": lambda _: {"tool_choice": "required"},
        },
        takes_names=False,
    ),
    RemoteKind.transformers: Dialect(
        {
            **SAMPLING,
            "temperature": _temperature_of_transformers,
            "top_p": _in_generation_config("top_p"),
            "top_k": _in_generation_config("top_k"),
            "repetition_penalty": _in_generation_config("repetition_penalty"),
            "enable_thinking": _template,
        },
        {"min_p": _in_generation_config("min_p"), "logit_bias": named("logit_bias")},
        stops_here=True,
        splits_here=True,
        own_seeds=False,
        heeds_window=False,
        tells_usage=True,
    ),
}
