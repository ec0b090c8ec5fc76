"""An application's source tree: manifest, detection, policies, environment, installs."""
