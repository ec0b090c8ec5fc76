"""`manage.py rollback`: makes an earlier release live again."""

from core.audit_trail import Entry, append_entry
from releases.deployments import deploy_and_rollback, rollback_plan
from releases.deployments.rollback_plan_text import format_rollback_plan
from releases.json_command import CommandResult, JsonCommand
from releases.models import Deployment, Release
from releases.rules import format_rollback_command
from releases.shell import get_shell_actor


class Command(JsonCommand):
    help = (
        "Make an earlier release live again; without an id it suggests the last healthy one. "
        "A second run is refused, because the release is live already."
    )

    def add_arguments(self, parser):
        parser.add_argument("release_id", nargs="?")
        parser.add_argument("--reason", default="", help="asked for on a terminal")
        parser.add_argument("--dry-run", action="store_true", help="only show what it takes back")
        parser.add_argument(
            "--accept-schema",
            action="store_true",
            help="roll back although a later migration dropped or narrowed something",
        )
        parser.add_argument(
            "--resume", type=int, metavar="NUMBER", help="continue a deployment that was begun"
        )

    def run_command(
        self, *, release_id, reason, dry_run, accept_schema, resume=None, **options
    ) -> CommandResult:
        if resume is not None:
            return self.resume_deployment(resume)
        suggested = None if release_id is not None else rollback_plan.find_rollback_target()
        if release_id is None and suggested is None:
            return CommandResult.from_error("release_unknown", "No other release was healthy yet.")
        release = suggested or Release.objects.require(release_id)
        plan = rollback_plan.make_rollback_plan(self.config, release).as_dict()
        for line in format_rollback_plan(plan):
            self.write_message(line)
        if dry_run:
            rollback_plan.check_rollback(self.config, release, accept_schema=accept_schema)
            return CommandResult({"dry_run": True, **plan})
        # Without a terminal nothing is confirmed: a script must name the release.
        if suggested is not None and not self.confirm(f"Roll back to {release}?"):
            command = format_rollback_command(release.pk)
            detail = f"The last healthy release is {release}: {command}"
            return CommandResult.from_error("release_id_missing", detail, **plan)
        deployment = self.roll_back(release, reason, accept_schema)
        return CommandResult({**plan, "seconds": round(deployment.seconds or 0.0, 3)})

    def roll_back(self, release, reason, accept_schema) -> Deployment:
        actor = get_shell_actor()
        reason = reason or self.prompt("Reason: ") or f"shell by {actor}"
        deployment = deploy_and_rollback.roll_back(
            self.config,
            release.pk,
            actor=actor,
            reason=reason,
            accept_schema=accept_schema,
            progress=self.write_message,
        )
        append_entry(Entry("command", actor, target=release.pk, reason=reason, detail="rollback"))
        self.write_message(f"{release} is live again after {deployment.seconds:.1f} s")
        return deployment

    def resume_deployment(self, number) -> CommandResult:
        """Complete a deployment that was begun, unless another process does."""
        deployments = Deployment.objects.select_related("release", "previous")
        deployment = deployments.filter(pk=number).first()
        if deployment is None:
            return CommandResult.from_error(
                "activation_unknown", f"There is no deployment {number}."
            )
        deploy_and_rollback.complete_deployment(
            self.config, deployment, progress=self.write_message
        )
        fields = {"release_id": deployment.release_id, "from_release_id": deployment.previous_id}
        return CommandResult({**fields, "seconds": round(deployment.seconds or 0.0, 3)})
