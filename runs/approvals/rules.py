"""Who may approve a run, and when it is approved: pure, and the one decision of all callers.

`runs.allowed_actions` asks it for the buttons and for the API's `allowed_actions`, and
`runs.lifecycle.operations.approve` asks it again under the lock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from host.errors import Refused

NAMED_PATHS = 3  # in a sentence


@dataclass(frozen=True)
class Approver:
    """Someone who approves: `name` as in the audit trail, `person` the account behind it.

    A token of an account is that account. `identities` are what CODEOWNERS may call the person:
    `@name`, an e-mail address, `@/group`, in small letters.
    """

    name: str
    person: str
    identities: frozenset[str] = frozenset()


@dataclass(frozen=True)
class OwnedPaths:
    """Changed paths with the same owners; `paths` are the first of `count`."""

    owners: frozenset[str]
    paths: tuple[str, ...]
    count: int

    @property
    def sorted_owners(self) -> list[str]:
        return sorted(self.owners)

    def __str__(self) -> str:
        rest = self.count - len(self.paths[:NAMED_PATHS])
        more = f" and {rest} more" if rest else ""
        names = ", ".join(sorted(one.replace("@/", "@") for one in self.owners))
        return f"{', '.join(self.paths[:NAMED_PATHS])}{more} ({names})"


@dataclass(frozen=True)
class Policy:
    """The settings APPROVAL_REQUIRED_COUNT, APPROVAL_SELF and APPROVAL_CODEOWNERS."""

    required_count: int = 1
    is_self_allowed: bool = True
    needs_owners: bool = False

    @property
    def asks_for_more(self) -> bool:
        """Whether anything is asked beyond one approval by one who may approve."""
        return self.required_count > 1 or self.needs_owners or not self.is_self_allowed


@dataclass(frozen=True)
class Requirements:
    """What the target branch asks for, and who made the run's commit.

    `makers`: the accounts that requested the run, and the e-mail addresses of its commits' authors.
    """

    checklist: tuple[str, ...] = ()
    makers: frozenset[str] = frozenset()
    owned: tuple[OwnedPaths, ...] = ()


@dataclass(frozen=True)
class ApprovalState:
    """The approvals of a run's present commit, and what they must be.

    `requirements` are None until they are known for this commit.
    """

    policy: Policy = Policy()
    requirements: Requirements | None = None
    given: tuple[Approver, ...] = ()

    @property
    def count(self) -> int:
        return len({one.person for one in self.given})

    @property
    def checklist(self) -> tuple[str, ...]:
        return self.requirements.checklist if self.requirements is not None else ()

    @property
    def missing_owners(self) -> tuple[OwnedPaths, ...]:
        """The changed paths whose owners have not approved yet, if owners must approve."""
        if not self.policy.needs_owners or self.requirements is None:
            return ()
        identities = frozenset().union(*(one.identities for one in self.given))
        return tuple(one for one in self.requirements.owned if not one.owners & identities)

    @property
    def is_complete(self) -> bool:
        return self.count >= self.policy.required_count and not self.missing_owners

    def has_approved(self, person: str) -> bool:
        return any(one.person == person for one in self.given)

    def with_approval(self, approver: Approver) -> "ApprovalState":
        """Return the state after the person's approval; one person counts once."""
        if self.has_approved(approver.person):
            return self
        return replace(self, given=(*self.given, approver))

    def describe(self) -> str:
        """Return how many approvals there are and what is missing, as sentences."""
        required = self.policy.required_count
        parts = [f"{self.count} of {required} approval{'s' * (required > 1)}."]
        if self.missing_owners:
            owned = "; ".join(map(str, self.missing_owners))
            parts.append(f"An owner must approve {owned}.")
        return " ".join(parts)

    def find_refusal(self, approver: Approver) -> Refused | None:
        """Return why this person may not approve the commit; None if they may."""
        if self.requirements is None and (
            self.policy.needs_owners or not self.policy.is_self_allowed
        ):
            detail = "What the target branch requires is not known yet: try again in a minute."
            return Refused("approval_rules_unknown", detail)
        if not self.policy.is_self_allowed and self._is_maker(approver):
            detail = "You made this run or its commits: another person must approve them."
            return Refused("approval_of_own", detail, status=403)
        if self.has_approved(approver.person) and not self.is_complete:
            detail = f"You approved this commit already. {self.describe()}"
            return Refused("already_approved", detail)
        return None

    def _is_maker(self, approver: Approver) -> bool:
        makers = self.requirements.makers if self.requirements is not None else frozenset()
        return approver.person in makers or bool(approver.identities & makers)


def check_ticked(checklist: Sequence[str], ticked: Iterable[str]) -> None:
    """Raise Refused unless exactly the items of the checklist are ticked.

    `checklist_incomplete` (409) names the missing ones, `checklist_changed` (409) those that the
    target branch's list does not have.
    """
    unknown = [one for one in ticked if one not in checklist]
    if unknown:
        has = ", ".join(checklist) or "no items"
        detail = f"The target branch's checklist has no item {unknown[0][:200]!r}; it has: {has}."
        raise Refused("checklist_changed", detail)
    missing = [one for one in checklist if one not in set(ticked)]
    if missing:
        detail = f"Confirm every item of the target branch's checklist: {', '.join(missing)}."
        raise Refused("checklist_incomplete", detail)
