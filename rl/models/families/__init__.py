"""Model families, one file each. The folder is the registry: to add a family, add a file with a
subclass of `rl.models.spec.ModelSpec`.
"""
