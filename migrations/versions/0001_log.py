"""The log: its table, the one function that appends, leases, and the role that may use them.

The layout keeps the eventsourcing library's columns and adds the envelope. Nobody inserts directly:
``log_append`` serialises commits, so that position order is commit order and a tailing reader can
never skip an event that commits late.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLE = """
DO $$
BEGIN
    CREATE ROLE alphapulse_app LOGIN NOINHERIT;
EXCEPTION
    -- Roles belong to the cluster: another database's migration may have made it, even just now.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role alphapulse_app is missing and % may not create it', current_user
            USING HINT = 'An administrator has to: CREATE ROLE alphapulse_app LOGIN; '
                'GRANT alphapulse_app TO the migrating user;';
END $$;
"""

MEMBERSHIP = """
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'alphapulse_app', 'MEMBER') THEN
        EXECUTE format('GRANT alphapulse_app TO %I', current_user);
    END IF;
EXCEPTION
    WHEN unique_violation OR insufficient_privilege THEN NULL;  -- the same grant at the same moment
END $$;
"""

TABLES = """
CREATE SEQUENCE log_positions AS bigint;

CREATE TABLE stored_events (
    originator_id text NOT NULL,  -- the stream
    originator_version bigint NOT NULL,
    topic text NOT NULL,  -- versioned name, such as market.trades_observed.v1
    state bytea NOT NULL,
    notification_id bigint NOT NULL,  -- the position
    event_id uuid NOT NULL,
    event_time bigint,  -- ns since 1970 UTC, the venue's clock
    recorded_at timestamptz NOT NULL,
    cause_id uuid,
    correlation_id uuid,
    actor text NOT NULL,
    trace text,
    id_lo bigint,  -- venue ids inside a batch
    id_hi bigint,
    PRIMARY KEY (originator_id, originator_version),
    CONSTRAINT stored_events_position UNIQUE (notification_id),
    CONSTRAINT stored_events_event_id UNIQUE (event_id),
    CONSTRAINT stream_length CHECK (length(originator_id) BETWEEN 1 AND 255),
    CONSTRAINT version_from_0 CHECK (originator_version >= 0),
    CONSTRAINT state_at_most_900_kb CHECK (octet_length(state) <= 900000),
    CONSTRAINT ids_in_order CHECK (id_lo <= id_hi AND (id_lo IS NULL) = (id_hi IS NULL))
);
-- Compressed already: pglz on top made append 11x slower. (CREATE TABLE knows the clause only from 16 on.)
ALTER TABLE stored_events ALTER COLUMN state SET STORAGE EXTERNAL;
CREATE INDEX stored_events_ids ON stored_events (originator_id, id_hi, id_lo) WHERE id_hi IS NOT NULL;

-- The library's tracking: how far a process application has come in another application's log.
CREATE TABLE notification_tracking (
    application_name text PRIMARY KEY,
    notification_id bigint NOT NULL
);

CREATE TABLE leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
"""

UNCHANGEABLE = """
CREATE FUNCTION log_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log only grows: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON stored_events
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();
"""

# What does not fit is looked for first, so that the usual case is one insert of everything. Under the
# lock nobody else can insert, hence a check made here still holds at the insert.
APPEND = """
CREATE FUNCTION log_misfit(streams text[], versions bigint[], event_ids uuid[]) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    misfit text;
BEGIN
    SELECT format('stream %s wants version %s next, not %s', w.stream, coalesce(s.last, 0) + 1, w.first)
    INTO misfit
    FROM (
        SELECT v.stream, min(v.version) AS first, min(v.base) AS lowest, max(v.base) AS highest
        FROM (
            SELECT a.stream, a.version,
                a.version - row_number() OVER (PARTITION BY a.stream ORDER BY a.ord) AS base
            FROM unnest(streams, versions) WITH ORDINALITY a (stream, version, ord)
        ) v
        GROUP BY v.stream
    ) w
    CROSS JOIN LATERAL (
        SELECT max(e.originator_version) AS last FROM stored_events e WHERE e.originator_id = w.stream
    ) s
    -- Streams begin at 1; the library's own may begin at 0.
    WHERE w.lowest <> w.highest
        OR NOT (w.lowest = coalesce(s.last, 0) OR (s.last IS NULL AND w.lowest = -1))
    LIMIT 1;
    IF misfit IS NULL THEN
        SELECT format('event id %s is version %s of %s', e.event_id, e.originator_version, e.originator_id)
        INTO misfit FROM stored_events e WHERE e.event_id = ANY (event_ids) LIMIT 1;
    END IF;
    IF misfit IS NULL THEN
        SELECT format('event id %s comes twice', i) INTO misfit
        FROM unnest(event_ids) i GROUP BY i HAVING count(*) > 1 LIMIT 1;
    END IF;
    RETURN misfit;
END $$;

-- Inserts events at ``first`` and the positions that follow.
CREATE FUNCTION log_insert(
    first bigint, stamp timestamptz,
    streams text[], versions bigint[], names text[], states bytea[], event_ids uuid[], event_times bigint[],
    cause_ids uuid[], correlation_ids uuid[], actors text[], traces text[], id_los bigint[], id_his bigint[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO stored_events
    SELECT a.stream, a.version, a.name, a.state, first + a.ord - 1, a.event_id, a.event_time, stamp,
        a.cause_id, a.correlation_id, a.actor, a.trace, a.id_lo, a.id_hi
    FROM unnest(
        streams, versions, names, states, event_ids, event_times,
        cause_ids, correlation_ids, actors, traces, id_los, id_his
    ) WITH ORDINALITY a (
        stream, version, name, state, event_id, event_time,
        cause_id, correlation_id, actor, trace, id_lo, id_hi, ord
    );
END $$;

-- Appends groups of events: group g has counts[g] of them and stands or falls on its own.
-- Outcomes: stored, repeat (was there already, identical), conflict, fenced. One row per event.
CREATE FUNCTION log_append(
    counts int[], fence_leases text[], fence_epochs bigint[],
    streams text[], versions bigint[], names text[], states bytea[], event_ids uuid[], event_times bigint[],
    cause_ids uuid[], correlation_ids uuid[], actors text[], traces text[], id_los bigint[], id_his bigint[]
) RETURNS TABLE (outcome text, log_position bigint, log_recorded_at timestamptz, detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    total constant int := cardinality(streams);
    bytes constant bigint := (SELECT sum(octet_length(s)) FROM unnest(states) s);
    fenced int[];
    stamp timestamptz;
    first bigint;
    lo int := 1;
    hi int;
    misfit text;
    whole boolean;
    inserted bigint;
BEGIN
    IF total > 1 AND bytes > 430000 THEN
        RAISE EXCEPTION '% bytes in % events: a commit holds at most 430000, or one event', bytes, total
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    PERFORM pg_advisory_xact_lock(4705784317894840135);  -- "ALPHLOG": the one queue of commits

    IF num_nulls(VARIADIC fence_leases) < cardinality(fence_leases) THEN
        -- The row lock makes a new holder wait until this commit is done or undone.
        PERFORM 1 FROM leases l WHERE l.name = ANY (fence_leases) ORDER BY l.name FOR SHARE;
        SELECT array_agg(f.g) INTO fenced
        FROM unnest(fence_leases, fence_epochs) WITH ORDINALITY f (lease, epoch, g)
        WHERE f.lease IS NOT NULL
            AND NOT EXISTS (SELECT FROM leases l WHERE l.name = f.lease AND l.epoch = f.epoch);
    END IF;

    SELECT greatest(clock_timestamp(), e.recorded_at) INTO stamp
    FROM (SELECT max(notification_id) AS last FROM stored_events) m
    LEFT JOIN stored_events e ON e.notification_id = m.last;

    whole := fenced IS NULL AND log_misfit(streams, versions, event_ids) IS NULL;
    FOR g IN 1 .. CASE WHEN whole THEN 1 ELSE cardinality(counts) END LOOP
        hi := CASE WHEN whole THEN total ELSE lo + counts[g] - 1 END;
        IF g = ANY (fenced) THEN
            RETURN QUERY SELECT 'fenced', NULL::bigint, NULL::timestamptz,
                format('lease %s, epoch %s', fence_leases[g], fence_epochs[g])
            FROM generate_series(lo, hi);
        ELSE
            misfit := CASE WHEN NOT whole
                THEN log_misfit(streams[lo:hi], versions[lo:hi], event_ids[lo:hi]) END;
            IF misfit IS NULL THEN
                first := nextval('log_positions');
                PERFORM setval('log_positions', first + hi - lo);
                IF whole THEN  -- slices are copies
                    PERFORM log_insert(
                        first, stamp, streams, versions, names, states, event_ids, event_times,
                        cause_ids, correlation_ids, actors, traces, id_los, id_his
                    );
                ELSE
                    PERFORM log_insert(
                        first, stamp, streams[lo:hi], versions[lo:hi], names[lo:hi], states[lo:hi],
                        event_ids[lo:hi], event_times[lo:hi], cause_ids[lo:hi], correlation_ids[lo:hi],
                        actors[lo:hi], traces[lo:hi], id_los[lo:hi], id_his[lo:hi]
                    );
                END IF;
                inserted := first + hi - lo;
                RETURN QUERY SELECT 'stored', p, stamp, NULL FROM generate_series(first, inserted) p;
            ELSE
                RETURN QUERY
                WITH held AS (
                    SELECT a.ord, e.notification_id AS p, e.recorded_at AS r
                    FROM unnest(
                        streams[lo:hi], versions[lo:hi], event_ids[lo:hi], names[lo:hi], states[lo:hi]
                    ) WITH ORDINALITY a (stream, version, event_id, name, state, ord)
                    LEFT JOIN stored_events e
                        ON e.originator_id = a.stream AND e.originator_version = a.version
                        AND e.event_id = a.event_id AND e.topic = a.name AND e.state = a.state
                )
                SELECT CASE WHEN all_held THEN 'repeat' ELSE 'conflict' END,
                    CASE WHEN all_held THEN p END, CASE WHEN all_held THEN r END,
                    CASE WHEN all_held THEN NULL ELSE misfit END
                FROM (SELECT held.*, bool_and(p IS NOT NULL) OVER () AS all_held FROM held) h
                ORDER BY ord;
            END IF;
        END IF;
        lo := hi + 1;
    END LOOP;
    IF inserted IS NOT NULL THEN
        PERFORM pg_notify('alphapulse_log', inserted::text);
    END IF;
END $$;
"""

READING = """
-- recorded_at never runs backwards along positions, so a binary search needs no further index.
CREATE FUNCTION log_position_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    lo bigint := 0;  -- recorded by then
    hi bigint := coalesce((SELECT max(notification_id) FROM stored_events), 0) + 1;  -- not, nor what follows
    middle bigint;
    probe record;
BEGIN
    WHILE hi - lo > 1 LOOP
        middle := lo + (hi - lo) / 2;
        SELECT notification_id AS position, recorded_at INTO probe FROM stored_events
        WHERE notification_id >= middle AND notification_id < hi ORDER BY notification_id LIMIT 1;
        IF FOUND AND probe.recorded_at <= moment THEN
            lo := probe.position;
        ELSE
            hi := middle;
        END IF;
    END LOOP;
    RETURN lo;
END $$;

-- Which of ``parts`` parts a stream falls in: by its instrument, so that its streams stay together.
-- alphapulse.domain.ports.partition_of computes the same.
CREATE FUNCTION log_partition(stream text, parts int) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    (('x' || substr(encode(sha256(convert_to(
        substring(
            coalesce(nullif(substr(stream, strpos(stream, '-') + 1), ''), stream) from '^[^-]*(?:-[^-]*)?'
        ), 'UTF8'
    )), 'hex'), 1, 8))::bit(32)::bigint % parts)::int;
"""

TRACKING = """
-- Moves forward only, and only together with an append that was stored.
CREATE FUNCTION log_track(application text, tracked bigint, stored boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT stored THEN
        RAISE EXCEPTION 'the events that % derived from position % conflict', application, tracked
            USING ERRCODE = 'unique_violation';
    END IF;
    INSERT INTO notification_tracking AS t VALUES (application, tracked)
    ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id
        WHERE t.notification_id < excluded.notification_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% has already passed position %', application, tracked
            USING ERRCODE = 'unique_violation';
    END IF;
END $$;
"""

LEASES = """
-- The new epoch, or null while another holder's lease runs. The same holder may take it again.
CREATE FUNCTION lease_acquire(lease text, new_holder text, seconds double precision) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO leases AS l (name, holder, epoch, expires_at)
    VALUES (lease, new_holder, 1, clock_timestamp() + make_interval(secs => seconds))
    ON CONFLICT (name) DO UPDATE
        SET holder = excluded.holder, epoch = l.epoch + 1,
            expires_at = clock_timestamp() + make_interval(secs => seconds)
        WHERE l.expires_at <= clock_timestamp() OR l.holder = excluded.holder
    RETURNING l.epoch;
$$;

CREATE FUNCTION lease_renew(lease text, held_epoch bigint, seconds double precision) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH renewed AS (
        UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => seconds)
        WHERE name = lease AND epoch = held_epoch RETURNING 1
    )
    SELECT EXISTS (SELECT FROM renewed);
$$;

-- The epoch moves on with the release, so that nothing of the old holder's can still commit.
CREATE FUNCTION lease_release(lease text, held_epoch bigint) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH released AS (
        UPDATE leases SET expires_at = '-infinity', epoch = epoch + 1
        WHERE name = lease AND epoch = held_epoch RETURNING 1
    )
    SELECT EXISTS (SELECT FROM released);
$$;
"""

RIGHTS = """
REVOKE ALL ON stored_events, notification_tracking, leases FROM PUBLIC, alphapulse_app;
REVOKE ALL ON SEQUENCE log_positions FROM PUBLIC, alphapulse_app;
REVOKE ALL ON FUNCTION log_append, log_insert, log_misfit, log_track FROM PUBLIC;
REVOKE ALL ON FUNCTION lease_acquire, lease_renew, lease_release FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO alphapulse_app;
GRANT SELECT ON stored_events, notification_tracking, leases TO alphapulse_app;
GRANT EXECUTE ON FUNCTION log_append, log_track, lease_acquire, lease_renew, lease_release
    TO alphapulse_app;
"""


def upgrade() -> None:
    for statement in (ROLE, MEMBERSHIP, TABLES, UNCHANGEABLE, APPEND, READING, TRACKING, LEASES, RIGHTS):
        _run(statement)


def _run(statements: str) -> None:
    """Send SQL as it stands: its percent signs and colons are PL/pgSQL, no parameters."""
    if op.get_context().as_sql:
        op.get_context().impl.static_output(statements)
    else:
        op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})


def downgrade() -> None:
    raise RuntimeError("the log is the one truth: no migration takes it away")
