"""The command groups of `plumbline`, one file each; `recipes/cli/group.py` finds them."""
