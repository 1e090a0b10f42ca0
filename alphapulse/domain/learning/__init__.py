"""Learning from the log: labels, folds, and what a model is worth out of fold."""
