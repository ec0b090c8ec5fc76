"""The statements that the router waits for at each request of a protected preview.

They are SQL because the ORM needed several milliseconds to put them together, at every asset of a
page (bench/preview_protection.py). `tests/runs/protection/test_sql.py` explains each of them
against the real schema. Placeholders carry a cast because PostgreSQL must know their types when it
prepares the statement.
"""

from slots.rules import STATES_WITH_SLOT

# The run in the slot of that number; no row if no run holds it. Parameters: host_name, slot.
_HELD = f"""
WITH held AS (
    SELECT run.id, run.branch, run.created_by
    FROM slots_lease lease
    JOIN slots_slot slot ON slot.id = lease.slot_id
    JOIN runs_run run ON run.id = lease.run_id
    WHERE slot.host = %(host_name)s::text AND slot.number = %(slot)s::smallint
      AND lease.state IN ({", ".join(f"'{state}'" for state in STATES_WITH_SLOT)})
)"""

_GROUPS = """ARRAY(
        SELECT name FROM auth_group JOIN auth_user_groups ON auth_group.id = group_id
        WHERE user_id = person.id
    )"""

# Returns its id.
FIND_RUN = f"{_HELD} SELECT id FROM held"

# Further parameters: id, host. Returns (session hash, password, is_superuser, groups, name of the
# account, id of the run here) of the visit of this run at this host name; no row once the login,
# the account or the visit has ended.
ADMIT_VISIT = f"""{_HELD}
SELECT visit.session_hash, person.password, person.is_superuser, {_GROUPS},
    person.username, visit.run_id
FROM runs_previewvisit visit
JOIN auth_user person ON person.id = visit.user_id
JOIN django_session login ON login.session_key = visit.session_key
WHERE visit.id = %(id)s::bigint AND visit.host = %(host)s::text AND visit.begun_at IS NOT NULL
  AND visit.run_id IS NOT DISTINCT FROM (SELECT id FROM held)
  AND visit.expires_at > clock_timestamp() AND login.expire_date > clock_timestamp()
  AND person.is_active
"""

# Further parameter: id. Returns a row if the share link is valid, and its run is the one here.
ADMIT_LINK = f"""{_HELD}
SELECT 1 FROM runs_sharelink link JOIN held ON held.id = link.run_id
WHERE link.id = %(id)s::bigint AND link.revoked_at IS NULL
  AND link.expires_at > clock_timestamp()
"""

# Further parameters: digest and the visitor's address, or id and short, the beginning of the
# digest; the others are null.
# Returns the valid token of that secret, or of that id and beginning: (id, name, abilities,
# is_owned, whether its owner is active, is_superuser, groups, branches, is_own_runs_only, branch
# and creator of the run here, whether its use was recorded just now, and the address before).
ADMIT_TOKEN = f"""{_HELD}
SELECT token.id, token.name, token.abilities, token.is_owned,
    coalesce(person.is_active, false), coalesce(person.is_superuser, false), {_GROUPS},
    token.branches, token.is_own_runs_only, held.branch, held.created_by,
    coalesce(token.last_used_at > clock_timestamp() - interval '1 minute', false)
        AND coalesce(%(address)s::text = ANY(token.known_addresses), true)
FROM accounts_apitoken token
LEFT JOIN auth_user person ON person.id = token.owner_id
LEFT JOIN held ON true
WHERE token.revoked_at IS NULL
  AND (token.expires_at IS NULL OR token.expires_at > clock_timestamp())
  AND (token.digest = %(digest)s::text
       OR (token.previous_digest = %(digest)s::text
           AND token.previous_expires_at > clock_timestamp())
       OR (token.id = %(id)s::bigint AND (
               starts_with(token.digest, %(short)s::text)
               OR (starts_with(token.previous_digest, %(short)s::text)
                   AND token.previous_expires_at > clock_timestamp()))))
"""
