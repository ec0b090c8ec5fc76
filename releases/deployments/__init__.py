"""Deployments: switching production to a release, forward or back."""
