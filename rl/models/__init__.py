"""Models: what depends on the family, loading, the forward pass over trees, adapters."""
