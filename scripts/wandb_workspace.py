"""A W&B workspace with standard and EMA weights side by side: `python scripts/wandb_workspace.py`; see docs/wandb.md."""

from depthdif.command_line import wandb_workspace

if __name__ == "__main__":
    wandb_workspace()
