"""Predict an ocean from profiles: `python scripts/predict.py checkpoint=... observations=... times=...`; see docs/prediction.md."""

from depthdif.command_line import predict

if __name__ == "__main__":
    predict()
