"""The Django project on top: settings, URLs, health, navigation, set-up commands."""
