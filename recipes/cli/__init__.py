"""The `plumbline` command, one file a group of commands."""
