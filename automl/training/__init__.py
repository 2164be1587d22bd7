"""Training: loop, losses, schedules, precision, checkpoints. Knows torch.distributed, never Ray."""
