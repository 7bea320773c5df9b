"""The live actors of a run: engines that sample, and with them the learner that trains."""
