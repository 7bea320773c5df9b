"""How rows of data sets are laid out: one file a format, the folder is the registry."""
