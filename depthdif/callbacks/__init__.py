"""What a training run does besides fitting: panels and scores, progress, a final validation, the closing table."""
