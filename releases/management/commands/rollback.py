"""`manage.py rollback`: an earlier release serves again."""

from releases.deployments import operations, rollback_plan
from releases.deployments.plan_text import sentences
from releases.json_command import Answer, JsonCommand, shell_actor
from releases.models import Activation
from releases.rules import rollback_command


class Command(JsonCommand):
    help = (
        "Make an earlier release live again; without an id the last healthy one is offered. "
        "Run twice, the second is refused: it is live already."
    )

    def add_arguments(self, parser):
        parser.add_argument("release_id", nargs="?")
        parser.add_argument("--reason", default="", help="asked for on a terminal")
        parser.add_argument("--dry-run", action="store_true", help="only say what it takes back")
        parser.add_argument(
            "--accept-schema",
            action="store_true",
            help="go back across migrations that dropped or narrowed something",
        )
        parser.add_argument(
            "--resume", type=int, metavar="NUMBER", help="carry on an activation that was begun"
        )

    def answer(
        self, *, release_id, reason, dry_run, accept_schema, resume=None, **options
    ) -> Answer:
        if resume is not None:
            return self.carry_on(resume)
        actor = shell_actor()
        offered = None if release_id is not None else rollback_plan.offered()
        if release_id is None and offered is None:
            return Answer.refused("release_unknown", "No other release was healthy yet.")
        release = offered or operations.known(release_id)
        way = rollback_plan.preview(self.config, release)
        for line in sentences(way.as_dict()):
            self.say(line)
        if dry_run:
            rollback_plan.check(self.config, release, accept_schema=accept_schema)
            return Answer({"dry_run": True, **way.as_dict()})
        if offered is not None and not self.confirms(f"Roll back to {release}?"):
            detail = f"The last healthy release is {release}: {rollback_command(release.pk)}"
            return Answer.refused("release_id_missing", detail, **way.as_dict())
        reason = reason or self.asks("Why? ") or f"shell by {actor}"
        activation = operations.rollback(
            self.config,
            release.pk,
            actor=actor,
            reason=reason,
            accept_schema=accept_schema,
            progress=self.say,
        )
        self.say(f"{release} is live again after {activation.seconds:.1f} s")
        return Answer({**way.as_dict(), "seconds": round(activation.seconds or 0.0, 3)})

    def carry_on(self, number) -> Answer:
        """Finish what was written down already, unless somebody else does."""
        found = Activation.objects.select_related("release", "previous").filter(pk=number).first()
        if found is None:
            return Answer.refused("activation_unknown", f"There is no activation {number}.")
        activation = operations.confirm(self.config, found, progress=self.say)
        facts = {"release_id": activation.release_id, "from_release_id": activation.previous_id}
        return Answer({**facts, "seconds": round(activation.seconds or 0.0, 3)})
