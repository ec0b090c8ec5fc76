"""The steps of a precheck: a merge of its own, then those of the merge gate, as shipping has them.

They work with a `PrecheckContext`, which writes to the precheck's row where shipping writes to the
run's, so that nothing of a precheck is found when the run ships.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from core.claims import Claim
from host.config import Config
from host.git.bare_repository import Repository
from host.process.users import User
from runs.engine.artifacts import artifact_path, record_artifact
from runs.engine.step_context import PipelineStep, StepContext, StepResult
from runs.lifecycle import branch_watch
from runs.models import Precheck, Run
from runs.pipelines import shipping
from runs.pipelines.candidates import merging
from runs.pipelines.candidates.merging import Signature
from runs.repository import open_repository

# Keep the candidates, to which no branch leads, from git's garbage collection.
CANDIDATES = "refs/oroboros/prechecks"
LOG_PREFIX = "precheck_"
# Of shipping: those between its candidate and its merge, without `start`. That runs the release as
# production's user, with its secrets and copies of its files, which takes an approval.
GATE = ("migrations", "release", "checks")


@dataclass
class PrecheckContext(StepContext):
    """What a step of a precheck works with. `run` is the run, with the precheck's commits."""

    is_precheck: ClassVar[bool] = True
    precheck: Precheck = field(kw_only=True)

    @property
    def gate_id(self) -> uuid.UUID:
        return self.precheck.pk

    @property
    def gate_user(self) -> User | None:
        return self.config.precheck_user

    def update_run(self, **fields: Any) -> None:
        """Write the fields to the precheck's row; the run's is not changed. Raises ClaimLost."""
        self.precheck.update(self.claim, **fields)
        for name, value in fields.items():
            setattr(self.run, name, value)

    def record_progress(self, **values: Any) -> None:
        """Show which checks have passed and which one runs. Raises ClaimLost."""
        self.precheck.update(self.claim, progress=values)

    def set_notes(self, sentences: Sequence[str], *, topic: str = "") -> None:
        """Write the sentences to the log: a note on the run is its preview's."""
        for sentence in sentences:
            self.write_log(sentence)


def candidate_ref(precheck: Precheck) -> str:
    """Return the ref that keeps the precheck's candidate."""
    return f"{CANDIDATES}/{precheck.pk}"


def delete_candidate_ref(repo: Repository, precheck: Precheck) -> None:
    """Delete that ref, if there is one."""
    head = repo.resolve_ref(candidate_ref(precheck))
    if head is not None:
        repo.update_ref(candidate_ref(precheck), None, head)


def _make_candidate(precheck: Precheck, context: StepContext) -> None:
    """Merge the run's commit into today's target branch, which is not moved."""
    repo = open_repository(context.config)
    base, _ = merging.fetch_target(context, repo)
    # What was fetched may be newer than the run's forecast, with which the result is compared.
    branch_watch.update_merge_notes(context.config, repo, context.run)
    context.write_log(f"base {base}")
    signature = Signature(precheck.requested_by, precheck.requested_at)
    candidate = merging.merge_into_base(context, repo, base, signature)
    ref = candidate_ref(precheck)
    repo.update_ref(ref, candidate, repo.resolve_ref(ref))
    context.update_run(base_sha=base, candidate_sha=candidate)


def _probe_candidate(context: StepContext) -> StepResult:
    """Return the commits once the merge was made; a precheck has no earlier one."""
    run = context.run
    return {"base": run.base_sha, "candidate": run.candidate_sha} if run.candidate_sha else None


def list_steps(precheck: Precheck) -> list[PipelineStep]:
    """Return the steps, in order. The gate's are read from `shipping.STEPS`, and are no others."""
    gate = {step.name: step for step in shipping.STEPS}
    candidate = replace(
        gate["candidate"], act=partial(_make_candidate, precheck), probe=_probe_candidate
    )
    return [candidate, *(gate[name] for name in GATE)]


def begin_step(
    config: Config,
    precheck: Precheck,
    run: Run,
    claim: Claim,
    step: PipelineStep,
    results: Mapping[str, dict[str, Any]],
) -> PrecheckContext:
    """Return the context of a step, with an empty log that is an artifact of the run."""
    name = f"{LOG_PREFIX}{step.log_artifact}"
    log = artifact_path(config, run, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)  # of an earlier precheck; it may be a link to a daemon's output
    log.touch(mode=0o600)
    record_artifact(config, run, name)
    job = f"{precheck.pk}:{claim.fence}"
    return PrecheckContext(config, log, job, run, claim, step, 1, 0, results, precheck=precheck)
