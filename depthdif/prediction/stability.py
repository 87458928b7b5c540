"""How much of a prediction of temperature and salinity lies above lighter water, beside the first guess."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import xarray as xr

from depthdif.data.variables import Variable
from depthdif.prediction.quantities import names_of
from depthdif.scores.density import Inversions, SeawaterVariables, density_inversions
from depthdif.scores.score_names import variant_label

# Rows of the grid that are converted to density at a time, which bounds the memory.
ROWS = 64
_ZERO_CELSIUS = 273.15


def inversion_lines(
    dataset: xr.Dataset, variables: Sequence[Variable], variants: Sequence[str]
) -> Iterator[str]:
    """A sentence with the shares of density inversions; none without temperature, salinity and two depths.

    Args:
        dataset: the output of a prediction; read time by time.
        variables: of the model.
    """
    found = SeawaterVariables.among((each.standard_name, each.units) for each in variables)
    if found is None:
        return
    pair = [variables[number].name for number in (found.temperature, found.salinity)]
    fields = {
        f"{variant_label(variant)} mean": [names_of(dataset, name, variant)[0] for name in pair]
        for variant in variants
    }
    if f"{pair[0]}_first_guess" in dataset:
        fields["first guess"] = [f"{name}_first_guess" for name in pair]
    shares = {what: inversions(dataset, names[0], names[1], found).share for what, names in fields.items()}
    words = [f"{what} {100 * share:.2g} %" for what, share in shares.items() if share is not None]
    if words:
        yield f"density inversions, of the pairs of neighbouring levels: {', '.join(words)}"


def inversions(dataset: xr.Dataset, temperature: str, salinity: str, kind: SeawaterVariables) -> Inversions:
    """Density inversions of two variables of an output, over all times."""
    unstable = pairs = 0
    depths, longitude = dataset["depth"].values, dataset["longitude"].values
    for number in range(dataset.sizes["time"]):
        for first in range(0, dataset.sizes["latitude"], ROWS):
            part = dataset[[temperature, salinity]].isel(time=number, latitude=slice(first, first + ROWS))
            celsius = part[temperature].values - (_ZERO_CELSIUS if kind.is_kelvin else 0)
            counts = density_inversions(
                celsius,
                part[salinity].values,
                depths,
                part["latitude"].values,
                longitude,
                kind.temperature_name,
            )
            unstable, pairs = unstable + counts.unstable, pairs + counts.pairs
    return Inversions(unstable, pairs)
