"""Releases and deployments: build, switch, health gate, roll back."""
