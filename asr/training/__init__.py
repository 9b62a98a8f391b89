"""From corpora to checkpoints."""
