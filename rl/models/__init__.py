"""Models as the learner needs them: specifications, loading, layout per family."""
