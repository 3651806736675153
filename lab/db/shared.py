"""What one person shared stands in what others' models were given: deleted with that person."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_CHECKPOINTS: Final = ("checkpoint_writes", "checkpoint_blobs", "checkpoints")

_ITEMS: Final = """(
    SELECT jsonb_agg(
        CASE WHEN item ->> 'shared_by' = :name THEN item || jsonb_build_object(
            'text', '', 'shared_by', NULL, 'source_id', NULL,
            'reason', 'forgotten with the person who said it'
        ) ELSE item END ORDER BY place
    ) FROM jsonb_array_elements(receipt -> 'items') WITH ORDINALITY AS items (item, place)
)"""
"""Those of a `receipt` without what somebody shared."""

_SHOWS: Final = """receipt @> jsonb_build_object(
    'items', jsonb_build_array(jsonb_build_object('shared_by', CAST(:name AS text)))
)"""

_ERASE: Final = text(
    f"""
    UPDATE runs SET receipt = jsonb_set(receipt, '{{items}}', {_ITEMS}) WHERE {_SHOWS}
    RETURNING coalesce(conversation_id, id)::text
    """
)
_ERASE_TOLD: Final = text(
    f"""
    UPDATE events SET data = jsonb_set(data, '{{receipt, items}}', {_ITEMS})
    FROM (SELECT run_id, position, data -> 'receipt' AS receipt FROM events WHERE type = 'receipt')
        AS told
    WHERE events.run_id = told.run_id AND events.position = told.position AND {_SHOWS}
    """
)
"""Of the streams of runs, which tell each receipt of a run."""


async def erase_shared(session: AsyncSession, name: str) -> None:
    """
    Delete what somebody said from the receipts and checkpoints of others.

    A receipt keeps how many tokens it took. What a model answered from it is the asker's.

    Parameters
    ----------
    session : AsyncSession
        The transaction, which sees all rows: every receipt is read.
    name : str
        Login name, as receipts show it.
    """
    threads = list(await session.scalars(_ERASE, {"name": name}))
    await session.execute(_ERASE_TOLD, {"name": name})
    if threads:
        for table in _CHECKPOINTS:
            await session.execute(
                text(f"DELETE FROM {table} WHERE thread_id = ANY(:threads)"), {"threads": threads}
            )
