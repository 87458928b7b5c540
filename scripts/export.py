"""Export a trained model for diffusers: `python scripts/export.py checkpoint=runs/DATE_TIME/checkpoints/last.ckpt which=ema`."""

from depthdif.command_line import export

if __name__ == "__main__":
    export()
