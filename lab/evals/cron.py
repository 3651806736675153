"""Cron expressions as cron reads them, for APScheduler, which numbers the days of the week anew."""

from datetime import UTC, datetime

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from lab.errors import InputError

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
N_FIELDS = 5


def parse_cron(expression: str) -> BaseTrigger:
    """
    Return the trigger of a five-field cron expression, in UTC.

    As in cron, Sunday is 0 or 7, and when both the day of the month and the day of the week are
    restricted, either one is enough.

    Raises
    ------
    InputError
        If it is no such expression, or its time never comes.
    """
    fields = expression.split()
    if len(fields) != N_FIELDS:
        raise _refusal(expression, f"it has {len(fields)} fields")
    minute, hour, day, month, weekday = fields
    try:
        weekdays = _weekdays(weekday.lower())
        choices = {"day": day, "day_of_week": weekdays}
        if "*" in (day[0], weekday[0]):
            parts = [choices]
        else:
            parts = [{"day": day}, {"day_of_week": weekdays}]
        triggers = [
            CronTrigger(minute=minute, hour=hour, month=month, timezone=UTC, **part)
            for part in parts
        ]
    except ValueError as error:
        raise _refusal(expression, str(error)) from None
    trigger = triggers[0] if len(triggers) == 1 else OrTrigger(triggers)
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise _refusal(expression, "its time never comes")
    return trigger


def next_time(expression: str, after: datetime | None = None) -> datetime:
    """
    Return when the expression is due next, after now or the time given.

    >>> next_time("30 2 * * 0", datetime(2026, 11, 24, tzinfo=UTC))
    datetime.datetime(2026, 11, 29, 2, 30, tzinfo=datetime.timezone.utc)
    """
    due: datetime = parse_cron(expression).get_next_fire_time(None, after or datetime.now(UTC))
    return due


def _weekdays(field: str) -> str:
    """Return the names of the days that a field of cron means."""
    if field == "*":
        return field
    days = sorted({day % 7 for item in field.split(",") for day in _days_of(item)})
    return ",".join(DAYS[day] for day in days)


def _days_of(item: str) -> range:
    span, _, step = item.partition("/")
    first, _, last = ("0-6" if span == "*" else span).partition("-")
    start = _day(first)
    end = _day(last) if last else (6 if step else start)
    if end < start:
        raise ValueError(f"the days `{item}` run backwards")
    return range(start, end + 1, int(step or 1))


def _day(text: str) -> int:
    if text in DAYS:
        return DAYS.index(text)
    if text.isdigit() and int(text) <= len(DAYS):
        return int(text)
    raise ValueError(f"`{text}` is no day of the week")


def _refusal(expression: str, why: str) -> InputError:
    return InputError(
        f"The cron expression `{expression}` is wrong: {why}. Expected minute, hour, day, month "
        "and day of the week in UTC, e.g. `30 2 * * *` for every night at half past two."
    )
