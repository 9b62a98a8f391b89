"""The acoustic model in torch, for training and export; the runtime does without."""
