"""Settings, read once from the environment, checked, immutable."""
