"""Train a model: `python scripts/train.py model/ema=suited data.batch_size=32`; `--help` shows what can be set."""

from depthdif.command_line import train

if __name__ == "__main__":
    train()
