"""The settings that operators see and change: their pages and their API."""
