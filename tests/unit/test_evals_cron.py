import re
from datetime import UTC, datetime

import pytest

from lab.errors import InputError
from lab.evals.cron import next_time, parse_cron

TUESDAY = datetime(2026, 11, 24, 12, 30, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("* * * * *", datetime(2026, 11, 24, 12, 31, tzinfo=UTC)),
        ("0 3 * * *", datetime(2026, 11, 25, 3, 0, tzinfo=UTC)),
        ("0 3 * * 1", datetime(2026, 11, 30, 3, 0, tzinfo=UTC)),
        ("0 3 * * 0", datetime(2026, 11, 29, 3, 0, tzinfo=UTC)),
        ("0 3 * * 7", datetime(2026, 11, 29, 3, 0, tzinfo=UTC)),
        ("0 3 * * sun", datetime(2026, 11, 29, 3, 0, tzinfo=UTC)),
        ("0 3 * * 5-7", datetime(2026, 11, 27, 3, 0, tzinfo=UTC)),
        ("0 3 * * 4,6", datetime(2026, 11, 26, 3, 0, tzinfo=UTC)),
        ("0 3 * * */3", datetime(2026, 11, 25, 3, 0, tzinfo=UTC)),
        ("0 3 1 * 5", datetime(2026, 11, 27, 3, 0, tzinfo=UTC)),
        ("0 3 25 * 5", datetime(2026, 11, 25, 3, 0, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, 0, 0, tzinfo=UTC)),
    ],
)
def test_an_expression_means_what_cron_means(expression: str, due: datetime) -> None:
    assert next_time(expression, TUESDAY) == due


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("* * * *", "it has 4 fields"),
        ("every day", "it has 2 fields"),
        ("61 * * * *", "61"),
        ("* * * * 8", "`8` is no day of the week"),
        ("* * * * 5-2", "run backwards"),
        ("x * * * *", "x"),
        ("0 0 30 2 *", "never comes"),
        ("* * * * */0", "must not be zero"),
    ],
)
def test_what_is_no_cron_expression_is_refused(expression: str, why: str) -> None:
    with pytest.raises(InputError, match=f"`{re.escape(expression)}` is wrong.*{why}"):
        parse_cron(expression)
