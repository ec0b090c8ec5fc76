"""Pictures of a ready run's preview and of production, taken beside the pipeline."""
