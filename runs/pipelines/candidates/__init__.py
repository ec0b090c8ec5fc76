"""The merge commit that the merge gate verifies, for shipping and for a precheck."""
