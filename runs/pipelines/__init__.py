"""The steps from a lease to a preview, and from an approval to a deployed merge."""
