"""The Merkle tree over the log: seals, the nodes of its tiles, counts of signals, receipts of anchors.

All of it only grows, like the log, and nobody inserts directly: ``seal_append`` demands the lease, the
place behind the last seal, and exactly the events that the log holds there.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
-- One row is one act of sealing, with its leaves one behind the other: positions as int8, salts of 16
-- bytes, commitments and leaf hashes of 32. Random bytes do not compress, and to compress positions takes as
-- long as all the rest of a seal.
CREATE TABLE log_seals (
    size bigint PRIMARY KEY,  -- leaves of the tree after it
    first_leaf bigint NOT NULL UNIQUE,
    last_position bigint NOT NULL UNIQUE,
    positions bigint[] NOT NULL,
    salts bytea NOT NULL,
    commitments bytea NOT NULL,
    hashes bytea NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,  -- the signed checkpoint
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT leaves_1_to_1000 CHECK (size - first_leaf BETWEEN 1 AND 1000),
    CONSTRAINT whole CHECK (
        cardinality(positions) = size - first_leaf
        AND octet_length(salts) = 16 * (size - first_leaf)
        AND octet_length(commitments) = 32 * (size - first_leaf)
        AND octet_length(hashes) = 32 * (size - first_leaf)
        AND octet_length(root) = 32
        AND last_position = positions[cardinality(positions)]
    )
);
ALTER TABLE log_seals
    ALTER COLUMN positions SET STORAGE EXTERNAL,
    ALTER COLUMN salts SET STORAGE EXTERNAL,
    ALTER COLUMN commitments SET STORAGE EXTERNAL,
    ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Complete subtrees of 2**level leaves, level 8, 16, ...: the tiles above the leaves.
CREATE TABLE log_nodes (
    level smallint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, number)
);

-- How many signals a strategy has issued among the leaves of the tree of this size, where that changed.
CREATE TABLE log_signal_counts (
    strategy text NOT NULL,
    size bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (strategy, size)
);
CREATE INDEX log_signal_counts_size ON log_signal_counts (size);

-- What anchors gave for checkpoints; an anchor that settles later gives a further receipt.
CREATE TABLE log_receipts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    size bigint NOT NULL REFERENCES log_seals,
    anchor text NOT NULL,
    kind text NOT NULL,
    anchored_at timestamptz,  -- the anchor's own time; null while it has not settled
    receipt bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX log_receipts_once ON log_receipts (size, anchor, sha256(receipt));

-- Where the sweep that re-hashes the log is, and what it found.
CREATE TABLE log_sweep (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    leaf bigint NOT NULL,  -- the next to be looked at
    passes bigint NOT NULL,  -- through the whole tree
    size bigint NOT NULL,  -- of the tree that the present pass goes through
    started_at timestamptz NOT NULL,
    finished_at timestamptz,  -- the last whole pass
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE log_faults (
    leaf bigint NOT NULL,
    fault text NOT NULL,
    position bigint,
    detail text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (leaf, fault)
);
"""

UNCHANGEABLE = "".join(
    f"""
CREATE TRIGGER {table}_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();
"""
    for table in ("log_seals", "log_nodes", "log_signal_counts", "log_receipts")
)

SEALING = """
-- Outcomes: sealed, repeat (was there already, identical), conflict, fenced; with a word on why.
CREATE FUNCTION seal_append(
    lease text, held_epoch bigint, first bigint, after bigint, events bigint[],
    new_salts bytea, new_commitments bytea, new_hashes bytea,
    levels smallint[], numbers bigint[], node_hashes bytea[],
    strategies text[], signal_counts bigint[], new_root bytea, new_note text
) RETURNS TABLE (outcome text, detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    new_size constant bigint := first + cardinality(events);
    is_held boolean;
    last log_seals;
    held bigint[];
BEGIN
    -- The row lock makes a new holder wait until this commit is done or undone, and so does a repeat whose
    -- first attempt is still under way.
    PERFORM 1 FROM leases l WHERE l.name = lease AND l.epoch = held_epoch FOR NO KEY UPDATE;
    is_held := FOUND;
    IF EXISTS (SELECT FROM log_seals s WHERE s.size = new_size AND s.note = new_note) THEN
        RETURN QUERY SELECT 'repeat', NULL;
        RETURN;
    END IF;
    IF NOT is_held THEN
        RETURN QUERY SELECT 'fenced', format('lease %s, epoch %s', lease, held_epoch);
        RETURN;
    END IF;
    SELECT * INTO last FROM log_seals s ORDER BY s.size DESC LIMIT 1;
    IF (coalesce(last.size, 0), coalesce(last.last_position, 0)) <> (first, after) THEN
        RETURN QUERY SELECT 'conflict', format(
            'the tree has %s leaves up to position %s, not %s up to %s',
            coalesce(last.size, 0), coalesce(last.last_position, 0), first, after);
        RETURN;
    END IF;
    SELECT array_agg(e.notification_id ORDER BY e.notification_id) INTO held FROM stored_events e
    WHERE e.notification_id > after AND e.notification_id <= events[cardinality(events)];
    IF held IS DISTINCT FROM events THEN
        RETURN QUERY SELECT 'conflict', format(
            'the log holds %s events after position %s up to %s, not these %s',
            coalesce(cardinality(held), 0), after, events[cardinality(events)], cardinality(events));
        RETURN;
    END IF;
    INSERT INTO log_seals (size, first_leaf, last_position, positions, salts, commitments, hashes, root, note)
    VALUES (new_size, first, events[cardinality(events)], events, new_salts, new_commitments, new_hashes,
        new_root, new_note);
    INSERT INTO log_nodes SELECT * FROM unnest(levels, numbers, node_hashes);
    INSERT INTO log_signal_counts
    SELECT c.strategy, new_size, c.count FROM unnest(strategies, signal_counts) c (strategy, count);
    -- No notice of it: notices are committed one at a time, and appends would wait for us.
    RETURN QUERY SELECT 'sealed', NULL;
END $$;

CREATE FUNCTION seal_keep(
    of_size bigint, by_anchor text, of_kind text, at timestamptz, given bytea
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO log_receipts (size, anchor, kind, anchored_at, receipt)
    VALUES (of_size, by_anchor, of_kind, at, given)
    ON CONFLICT (size, anchor, sha256(receipt)) DO NOTHING;
$$;
"""

RIGHTS = """
REVOKE ALL ON log_seals, log_nodes, log_signal_counts, log_receipts FROM PUBLIC, alphapulse_app;
REVOKE ALL ON FUNCTION seal_append, seal_keep FROM PUBLIC;
GRANT SELECT ON log_seals, log_nodes, log_signal_counts, log_receipts TO alphapulse_app;
GRANT EXECUTE ON FUNCTION seal_append, seal_keep TO alphapulse_app;
"""


def upgrade() -> None:
    for statement in (TABLES, UNCHANGEABLE, SEALING, RIGHTS):
        _run(statement)


def _run(statements: str) -> None:
    """Send SQL as it stands: its percent signs and colons are PL/pgSQL, no parameters."""
    if op.get_context().as_sql:
        op.get_context().impl.static_output(statements)
    else:
        op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})


def downgrade() -> None:
    raise RuntimeError("what is sealed was published: no migration takes it away")
