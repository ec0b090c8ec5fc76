"""The journal's hot statements: what each step begins and ends with.

They are SQL because the ORM took four fifths of the journal's time to put them together, and would
need three round trips for what is one statement here (docs/decisions/0002). States are formatted in
from the enums, never written out; `tests/runs/engine/test_sql.py` explains every statement against
the real schema, so that a renamed column fails at once.

Placeholders are psycopg's `%(name)s`. Each carries a cast because PostgreSQL must know its type
when it prepares the statement.
"""

from runs.rules import StepStatus

# The run's row, locked until the transaction ends; no row if the claim is lost. NO KEY UPDATE does
# not block the foreign-key checks of events and artifacts that are inserted meanwhile.
_LOCKED_RUN = """
WITH locked AS MATERIALIZED (
    SELECT id, stop_status, clock_timestamp() AS at FROM runs_run
    WHERE id = %(run)s::uuid AND claim_owner = %(owner)s::text AND claim_fence = %(fence)s::bigint
      AND claim_expires_at > clock_timestamp()
    FOR NO KEY UPDATE
)"""

# Begins a step, or the next attempt at it, and registers its log as an artifact.
# Parameters: run, owner, fence (the claim); generation, name; artifact, path (the log);
# ignores_stop: begin although the run was asked to stop.
# Returns (step id, attempt), or (NULL, NULL) if the run was asked to stop; no row if the claim is
# lost.
BEGIN_STEP = f"""{_LOCKED_RUN},
step AS (
    INSERT INTO runs_step AS step
        (run_id, generation, name, status, attempt, started_at, detail, result)
    SELECT id, %(generation)s::int, %(name)s::text, '{StepStatus.RUNNING}', 1, at, '', '{{}}'
    FROM locked WHERE stop_status = '' OR %(ignores_stop)s::boolean
    ON CONFLICT (run_id, generation, name) DO UPDATE
    SET status = excluded.status, attempt = step.attempt + 1, started_at = excluded.started_at,
        ended_at = NULL, detail = '', result = excluded.result
    RETURNING id, run_id, generation, attempt
),
log AS (
    INSERT INTO runs_artifact (run_id, generation, name, step_id, path, created_at)
    SELECT run_id, generation, %(artifact)s::text, id, %(path)s::text, clock_timestamp() FROM step
    ON CONFLICT (run_id, generation, name) DO UPDATE
    SET step_id = excluded.step_id, path = excluded.path
)
SELECT step.id, attempt FROM locked LEFT JOIN step ON true
"""

# Ends a step. Parameters: run, owner, fence; step (its id), status, detail, result (NULL: as it
# is).
# Returns (run id,); no row if the claim is lost.
END_STEP = f"""{_LOCKED_RUN},
step AS (
    UPDATE runs_step
    SET status = %(status)s::text, ended_at = at, detail = %(detail)s::text,
        result = coalesce(%(result)s::jsonb, result)
    FROM locked WHERE runs_step.id = %(step)s::bigint
)
SELECT id FROM locked
"""

# The kinds of the events that there are, in order: one look into the index for each, where
# SELECT DISTINCT reads every event. No parameters.
LIST_KINDS = """
WITH RECURSIVE found AS (
    (SELECT kind FROM runs_event ORDER BY kind LIMIT 1)
    UNION ALL
    SELECT (SELECT kind FROM runs_event WHERE kind > found.kind ORDER BY kind LIMIT 1)
    FROM found WHERE found.kind IS NOT NULL
)
SELECT kind FROM found WHERE kind IS NOT NULL"""
