"""Evaluate a trained model: `python scripts/evaluate.py checkpoint=runs/DATE_TIME/checkpoints/last.ckpt`; see docs/metrics.md."""

from depthdif.command_line import evaluate

if __name__ == "__main__":
    evaluate()
