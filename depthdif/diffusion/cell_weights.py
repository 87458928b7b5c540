"""Weights of cells in the training objective: of depths, and of cells near a coast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from depthdif import UserError


class CellWeights:
    """Factors on the weight of a cell in the loss.

    Args:
        depths: one for each depth, or for each channel where there are several variables; None is 1.
        coast: weight of a cell at the coast; it falls linearly to 1 at `coast_width`. 1 is no weight.
        coast_width: distance from the nearest land cell, km, at which a cell weighs 1.

    Raises:
        ValueError: weights that are negative, not finite or all 0, or a width that is not positive.
    """

    def __init__(
        self, depths: Sequence[float] | None = None, coast: float = 1.0, coast_width: float = 100.0
    ) -> None:
        weights = None if depths is None else [float(weight) for weight in depths]
        if weights is not None and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
            raise ValueError(
                f"cell_weights.depths is {weights}: expected numbers of at least 0, one of them above, such as "
                "model.objective.cell_weights.depths=[2,1,1]"
            )
        if not 0 <= coast < math.inf:
            raise ValueError(
                f"cell_weights.coast is {coast}: expected a number of at least 0, such as model.objective.cell_weights.coast=3"
            )
        if not 0 < coast_width < math.inf:
            raise ValueError(
                f"cell_weights.coast_width is {coast_width}: expected km above 0, such as "
                "model.objective.cell_weights.coast_width=100"
            )
        self.depths, self.coast, self.coast_width = weights, float(coast), float(coast_width)

    @property
    def needs_coast_distance(self) -> bool:
        """Whether batches must hold `coast_distance`."""
        return self.coast != 1

    def check(self, depths: int, variables: int) -> None:
        """Raise UserError where the number of weights is that of neither the depths nor the channels of all variables."""
        if self.depths is not None and len(self.depths) not in (depths, depths * variables):
            several = f", or {depths * variables} for {variables} variables" if variables > 1 else ""
            raise UserError(
                f"model.objective.cell_weights.depths has {len(self.depths)} weights, but the field has {depths} depths; "
                f"expected {depths}{several}"
            )

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Weights of the cells of a batch, which broadcast to (B, C, H, W); a `coast` needs its `coast_distance` (B, 1, H, W)."""
        target = batch["target_mask"]
        weights = torch.ones(1, 1, 1, 1, device=target.device)
        if self.depths is not None:
            of_depths = torch.tensor(self.depths, device=target.device)
            weights = of_depths.repeat(target.shape[1] // len(of_depths)).reshape(1, -1, 1, 1)
        if self.needs_coast_distance:
            near = (1 - batch["coast_distance"] / self.coast_width).clamp(min=0)
            weights = weights * (1 + (self.coast - 1) * near)
        return weights
