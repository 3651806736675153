"""What one person shared stands in what others' models were given: deleted with that person."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_CHECKPOINTS: Final = ("checkpoint_writes", "checkpoint_blobs", "checkpoints")

_ERASE = text(
    """
    UPDATE runs SET receipt = jsonb_set(receipt, '{items}', (
        SELECT jsonb_agg(
            CASE WHEN item ->> 'shared_by' = :name THEN item || jsonb_build_object(
                'text', '', 'shared_by', NULL, 'source_id', NULL,
                'reason', 'forgotten with the person who said it'
            ) ELSE item END ORDER BY place
        ) FROM jsonb_array_elements(receipt -> 'items') WITH ORDINALITY AS items (item, place)
    ))
    WHERE receipt @> jsonb_build_object(
        'items', jsonb_build_array(jsonb_build_object('shared_by', CAST(:name AS text)))
    )
    RETURNING coalesce(conversation_id, id)::text
    """
)


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
    if threads:
        for table in _CHECKPOINTS:
            await session.execute(
                text(f"DELETE FROM {table} WHERE thread_id = ANY(:threads)"), {"threads": threads}
            )
