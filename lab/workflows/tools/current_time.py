"""The clock."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lab.errors import ConfigError
from lab.workflows.tools.tool import Arguments, ToolContext, Traits, described


class CurrentTime:
    """Tell date and time in the user's time zone."""

    tool = described("current_time", "Tell the current date and time.")
    traits = Traits()

    def __init__(self, now: Callable[[tzinfo], datetime] = datetime.now) -> None:
        self._now = now

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return the day of the week, date, time and zone."""
        now = self._now(UTC).astimezone(_zone(context.settings.config.tools.time_zone))
        return f"{now:%A, %Y-%m-%d %H:%M:%S %Z}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"`tools.time_zone` is {name!r}, which is no time zone; give one such as "
            "`Europe/Berlin`."
        ) from None
