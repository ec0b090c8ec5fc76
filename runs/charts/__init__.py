"""Charts of the last 30 days: lead time, failures, slot use, deployments."""
