"""Model families, one file each: the folder is the registry. A family is a subclass of
rl.models.spec.ModelSpec.
"""
