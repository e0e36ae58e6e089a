"""Training signals beside the pooling head's own loss; see ``CAMClassifier`` for their interface."""
