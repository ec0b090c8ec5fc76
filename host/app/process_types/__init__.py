"""The process types of an application: its Procfile, quantities, and what the manifest adds."""
