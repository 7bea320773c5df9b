"""Training objectives as pure torch mathematics: one file each, the folder is the registry."""
