"""What is reported to the forge: commit statuses and one comment for each pull request."""
