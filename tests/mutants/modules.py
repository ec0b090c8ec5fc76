"""The modules whose mutants are generated: what decides and what guards, with fast tests of each.

The most dangerous ones come first: a run that is bounded by time reaches them.
"""

LEASES = ("tests/runs/leasing/test_leases.py",)
SLOTS_API = ("tests/runs/api/test_slots.py", "tests/runs/leasing/test_rules.py")
TOKENS = ("tests/accounts/test_authentication.py", "tests/accounts/test_tokens.py")

MODULES: dict[str, tuple[str, ...]] = {
    # leases, grants and claims
    "runs/leasing/rules.py": ("tests/runs/leasing/test_rules.py",),
    "core/claims.py": ("tests/core/test_claims.py",),
    "runs/leasing/leases.py": LEASES,
    "runs/leasing/grants.py": ("tests/runs/leasing/test_grants.py", *LEASES),
    "runs/leasing/reservations.py": SLOTS_API,
    "runs/leasing/reaper.py": ("tests/runs/leasing/test_reaper.py",),
    "runs/engine/journal.py": ("tests/runs/engine/test_journal.py",),
    "slots/rules.py": ("tests/slots/test_rules.py",),
    # what ships, in which order, and rollbacks
    "runs/rules.py": ("tests/runs/test_rules.py",),
    "runs/merge_queue.py": ("tests/runs/test_merge_queue.py",),
    "runs/pipelines/shipping.py": (
        "tests/runs/pipelines/shipping/test_candidate.py",
        "tests/runs/pipelines/shipping/test_merge_and_push.py",
        "tests/runs/pipelines/shipping/test_push.py",
        "tests/runs/pipelines/shipping/test_landing.py",
    ),
    "runs/freezes.py": ("tests/runs/test_freezes.py", "tests/runs/api/test_maintenance.py"),
    "runs/allowed_actions.py": ("tests/runs/test_allowed_actions.py",),
    "runs/approvals/rules.py": ("tests/runs/approvals/test_rules.py",),
    "runs/protection/rules.py": ("tests/runs/protection/test_rules.py",),
    "runs/prechecks/rules.py": ("tests/runs/prechecks/test_rules.py",),
    "runs/lifecycle/reconciler.py": (
        "tests/runs/lifecycle/test_reconciler_checks.py",
        "tests/runs/lifecycle/test_reconciler_gates.py",
        "tests/runs/lifecycle/test_dry_run.py",
    ),
    "releases/rules.py": ("tests/releases/test_rules.py",),
    "releases/deployments/deployment_steps.py": (
        "tests/releases/deployments/test_steps.py",
        "tests/releases/deployments/test_interrupted_deployments.py",
    ),
    "releases/deployments/rollback_plan.py": (
        "tests/releases/deployments/test_rollback_plan.py",
        "tests/runs/test_rollback_state.py",
    ),
    "releases/deployments/reconciler.py": ("tests/releases/deployments/test_reconciler.py",),
    # who may do what
    "accounts/peers.py": ("tests/accounts/test_peers.py", "tests/accounts/test_client_address.py"),
    "accounts/authentication.py": TOKENS,
    "accounts/tokens.py": (*TOKENS, "tests/accounts/test_commands.py"),
    "accounts/token_throttle.py": TOKENS,
    "accounts/login_throttle.py": ("tests/accounts/test_login_throttle.py",),
    "accounts/reserved_names.py": ("tests/accounts/test_reserved_names.py",),
    "accounts/audit/rules.py": ("tests/accounts/audit/test_rules.py",),
    "web/permissions.py": ("tests/runs/api/test_permissions.py", *TOKENS),
    "forges/rules.py": ("tests/forges/test_rules.py",),
    "notifications/rules.py": ("tests/notifications/test_rules.py",),
    "notifications/channels/connection_guard.py": ("tests/notifications/test_connection_guard.py",),
    # the API's limits
    "web/server/request_buffer.py": ("tests/web/server/test_request_buffer.py",),
    "web/server/paced_pool.py": ("tests/web/server/test_paced_pool.py",),
    "web/request_framing.py": ("tests/web/test_framing_rules.py",),
    "web/parsers.py": ("tests/web/test_parsers.py",),
    "host/settings_rules.py": ("tests/host/test_settings_values.py",),
    # the host: databases, commands, environments, git, processes
    "host/postgres/guard.py": ("tests/host/postgres/test_guard.py",),
    "host/app/command_policy.py": ("tests/host/app/test_command_policy.py",),
    "host/app/environment_policy.py": ("tests/host/app/test_environment.py",),
    "host/git/git_commands.py": ("tests/host/git/test_git_commands.py",),
    "host/process/termination.py": (
        "tests/host/process/test_families.py",
        "tests/host/process/test_termination.py",
    ),
    "host/process/runner.py": (
        "tests/host/process/test_runner.py",
        "tests/host/process/test_runner_arguments.py",
        "tests/host/process/test_termination.py",
    ),
    "host/process/process_table.py": ("tests/host/process/test_process_table.py",),
    "host/process/socket_owner.py": ("tests/host/process/test_socket_owner.py",),
    "host/process/inherited_state.py": ("tests/host/process/test_inherited_state.py",),
    "host/process/log_writer.py": (
        "tests/host/process/test_log_writer.py",
        "tests/host/process/test_bounded_output.py",
    ),
    "host/process/users.py": (
        "tests/host/process/test_families.py",
        "tests/host/process/test_users.py",
    ),
    "host/process/bounded_output.py": ("tests/host/process/test_bounded_output.py",),
    "host/process/private_tmp.py": ("tests/host/process/test_private_tmp.py",),
    "host/process/process_id.py": ("tests/host/process/test_process_id.py",),
    "host/process/shutdown.py": ("tests/host/process/test_shutdown.py",),
}

# Of these a mutant may end any process that it may signal.
ENDING = ("host/process/termination.py", "host/process/runner.py", "host/process/users.py")
