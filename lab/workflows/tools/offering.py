"""Which of the lab's tools a turn is offered."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lab.config import Settings
from lab.errors import InputError
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.response_kind import ResponseKind
from lab.schemas.tool_choice_mode import ToolChoiceMode
from lab.workflows.tools.tool import LabTool


@dataclass(frozen=True)
class Wanted:
    """
    The tools that a turn wants.

    Attributes
    ----------
    names : sequence of str
        Which.
    is_asked : bool
        Whether the request itself named them, so that what is not possible is refused.
    turn : ChatTurn
        The turn.
    ask : collection of str
        Names of tools whose calls wait until the user allows them.
    """

    names: Sequence[str]
    is_asked: bool
    turn: ChatTurn
    ask: Collection[str] = ()

    def offered(self, tools: Mapping[str, LabTool]) -> dict[str, LabTool]:
        """
        Return those of the tools that the turn may have.

        A tool of the client goes before one of the lab by the same name, what is stored of a
        person is only for turns that may read it, and what waits for the user's word only for
        turns that are kept until it comes.

        Raises
        ------
        InputError
            If the request named one that it may not have.
        """
        theirs = {tool.name for tool in self.turn.tools}
        reads = _reads_what_is_stored(self.turn)
        barred = [name for name, tool in tools.items() if tool.traits.personal and not reads]
        if barred and self.is_asked:
            raise InputError(
                f"`{barred[0]}` works on what is stored, which this request does not: name a "
                "conversation, or ask for `memory`, or leave the tool out."
            )
        is_kept = self.turn.store and self.turn.conversation_id is not None
        silent = [name for name in tools if name in self.ask and not is_kept]
        if silent and self.is_asked:
            raise InputError(
                f"`{silent[0]}` waits until the user allows it (`tools.ask`), which only a turn "
                "that is stored can: name a conversation, or leave the tool out."
            )
        without = theirs.union(barred, silent)
        return {name: tool for name, tool in tools.items() if name not in without}


def wanted_tools(
    turn: ChatTurn,
    profile: ModelProfile,
    settings: Settings,
    parameters: GenerationParameters,
    model: Model,
) -> Wanted:
    """
    Return which tools of the lab a turn wants.

    The request goes before the profile, that before the user's setting, which is for stored
    conversations without tools of the client's.

    Raises
    ------
    InputError
        If the request names some that cannot be used with what else it asks for.
    """
    is_asked = "enabled" in turn.settings.get("tools", {})
    names = _names(turn, profile, settings, is_asked=is_asked)
    reason = _why_not(turn, parameters, model) if names else ""
    if reason and is_asked:
        raise InputError(f"`tools.enabled` names tools of the lab, but {reason}.")
    return Wanted([] if reason else names, is_asked, turn, settings.config.tools.ask)


def _names(
    turn: ChatTurn, profile: ModelProfile, settings: Settings, *, is_asked: bool
) -> Sequence[str]:
    enabled = settings.config.tools.enabled
    if is_asked:
        return enabled
    if profile.tools is not None:
        return profile.tools
    return enabled if turn.conversation_id is not None and not turn.tools else []


def _why_not(turn: ChatTurn, parameters: GenerationParameters, model: Model) -> str:
    """Return why a turn cannot have tools of the lab, if so."""
    choice, form = parameters.tool_choice, parameters.response_format
    if model.tools is False:
        return f"the chat template of `{model.id}` knows none"
    if parameters.n > 1:
        return "`n` asks for several answers"
    if form is not None and form.type is not ResponseKind.text:
        return "`response_format` holds the answer to a form"
    if choice is None or choice.mode is ToolChoiceMode.auto:
        return ""
    if choice.mode is ToolChoiceMode.none:
        return '`tool_choice` is "none"'
    return "`tool_choice` wants a tool of the client's called" if turn.tools else ""


def _reads_what_is_stored(turn: ChatTurn) -> bool:
    """Return whether a turn may read what is stored, for which its token has the scope."""
    return turn.memory is not False and (turn.conversation_id is not None or bool(turn.memory))
