"""Whether a profile, and what a request asks of it, suits the model that it is on. No torch."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from lab.errors import InputError, UnknownModelError, nearest
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.task import Task

DOES: Final = {
    Task.chat: "chats",
    Task.embedding: "makes embeddings",
    Task.image: "makes pictures",
    Task.rerank: "reranks",
    Task.speech: "speaks",
    Task.transcription: "transcribes",
}
"""What models do, by their task."""

NAME: Final = re.compile(r"\w([\w.@:/ -]{0,98}\w)?")
"""What people may call a model or profile."""


def check_name(name: str) -> None:
    """Raise `InputError` for what is no name of a model or profile."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"A model or profile cannot be called {name!r}: give letters and digits, with "
            "`. _ @ : / -` and blanks between them, at most 100 characters."
        )


def check_profile(
    profile: ModelProfile, models: Mapping[str, Model], workflows: Collection[str]
) -> None:
    """
    Check a profile against its model's own configuration; what is not known yet is let pass.

    Parameters
    ----------
    profile : ModelProfile
        The profile.
    models : mapping
        The models of the lab, by id.
    workflows : collection of str
        Names of the workflows there are.

    Raises
    ------
    UnknownModelError
        If there is no such model.
    InputError
        If the model cannot chat, cannot do what the profile asks for, or has a shorter window; or
        if there is no such workflow.
    """
    model = models.get(profile.model)
    if model is None:
        raise UnknownModelError(profile.model, chatting(models))
    if model.task is not Task.chat:
        raise cannot_chat(model, chatting(models))
    if profile.workflow is not None and profile.workflow not in workflows:
        raise InputError(
            f"Unknown workflow `{profile.workflow}`.{nearest(profile.workflow, list(workflows))} "
            f"Workflows here: {', '.join(workflows)}."
        )
    if profile.team is not None and profile.workflow is not None:
        raise InputError(
            f"A profile with a `team` has its own workflow; leave `workflow` "
            f"(`{profile.workflow}`) out."
        )
    _check_window(profile, model)
    if profile.parameters is not None:
        check_asked(model, profile.parameters, n_tools=0)


def check_asked(
    model: Model, parameters: GenerationParameters, *, n_tools: int, n_pictures: int = 0
) -> None:
    """Raise `InputError` when a request asks for what the model cannot do."""
    if n_pictures and model.vision is False:
        raise InputError(
            f"`{model.id}` reads text only, and {n_pictures} pictures came; leave them out, or "
            "choose a model that sees."
        )
    if parameters.enable_thinking and model.thinking is False:
        raise InputError(
            f"The chat template of `{model.id}` knows no thinking, and `enable_thinking` was asked "
            "for; leave it out, or choose a model that thinks."
        )
    if n_tools and model.tools is False:
        raise InputError(
            f"The chat template of `{model.id}` knows no tools, and {n_tools} came; "
            "send none or choose a model that can call tools."
        )


def cannot_chat(model: Model, known: Collection[str]) -> InputError:
    """Return the error for a model that does something else where one that chats is needed."""
    return InputError(
        f"`{model.id}` {DOES[model.task]} and cannot chat; models here that chat: "
        f"{', '.join(known)}."
    )


def chatting(models: Mapping[str, Model]) -> list[str]:
    """Return the names of the models that chat."""
    return [name for name, model in models.items() if model.task is Task.chat]


def _check_window(profile: ModelProfile, model: Model) -> None:
    own, wanted = model.context_length, profile.context_length
    if own is not None and wanted is not None and wanted > own:
        raise InputError(
            f"`context_length` is {wanted:,} tokens, and the window of `{model.id}` has {own:,}; "
            "give at most so many, or leave it out."
        )
    window = wanted or own
    most = profile.parameters.max_new_tokens if profile.parameters else None
    if window is not None and most is not None and most >= window:
        raise InputError(
            f"`max_new_tokens` is {most:,}, and the window has {window:,} tokens for question and "
            "answer; give a smaller number."
        )
