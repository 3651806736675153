"""Which model made each embedding, and indexes that serve recall among very many turns."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EMBEDDED = ("memories", "memory_contexts")
GRAPH = "ix_memories_embedding_in_space"


def upgrade() -> None:
    for table in EMBEDDED:
        # Nobody wrote down which model made the embeddings of before, and the settings of today do
        # not tell: they stay unknown, and `lab db reembed` makes them anew.
        op.add_column(table, sa.Column("embedding_model", sa.String))
        op.drop_index(f"ix_{table}_owner_id", table)
        op.create_index(
            f"ix_{table}_owner_id_embedding_model", table, ["owner_id", "embedding_model"]
        )
    sort_postings()
    build_graph()


def sort_postings() -> None:
    """Give the postings of a word an order, so that the newest of very many can be read alone."""
    op.drop_index("ix_memory_terms_owner_id_term", "memory_terms")
    op.create_index(
        "ix_memory_terms_owner_id_term_memory_id",
        "memory_terms",
        ["owner_id", "term", "memory_id"],
        postgresql_include=["conversation_id", "n_times", "n_terms"],
    )


def build_graph() -> None:
    """
    Index the embeddings of all owners, for those who have too many to compare each.

    To each embedding the index adds 64 numbers that are its owner's and its model's, so that those
    of others are far from it and a search does not walk among them.

    Parallel workers share memory as large as `maintenance_work_mem`. Containers often have 64 MB of
    the kind that most servers take it from, so there are no workers there.
    """
    # Its body is parsed here: pg_restore works with an empty search path, and finds the types.
    op.execute(
        """
        CREATE FUNCTION memory_space(owner uuid, model text) RETURNS halfvec
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN ('[' || rtrim(replace(replace(translate(
            ('x' || left(md5(owner::text || coalesce(model, '')), 16))::bit(64)::text, '01', 'mp'
        ), 'm', '-0.125,'), 'p', '0.125,'), ',') || ']')::halfvec
        """
    )
    op.execute(
        "SELECT set_config('max_parallel_maintenance_workers', '0', true)"
        " WHERE current_setting('dynamic_shared_memory_type') <> 'mmap'"
    )
    op.execute(
        f"CREATE INDEX {GRAPH} ON memories USING hnsw ("
        "((embedding::halfvec(768) || memory_space(owner_id, embedding_model))::halfvec(832))"
        " halfvec_cosine_ops)"
    )


def downgrade() -> None:
    op.drop_index(GRAPH, "memories")
    op.execute("DROP FUNCTION memory_space")
    op.drop_index("ix_memory_terms_owner_id_term_memory_id", "memory_terms")
    op.create_index(
        "ix_memory_terms_owner_id_term",
        "memory_terms",
        ["owner_id", "term"],
        postgresql_include=["conversation_id", "memory_id", "n_times", "n_terms"],
    )
    for table in EMBEDDED:
        op.drop_index(f"ix_{table}_owner_id_embedding_model", table)
        op.create_index(f"ix_{table}_owner_id", table, ["owner_id"])
        op.drop_column(table, "embedding_model")
