"""What a fused C kernel would gain over PyTorch's kernels for the averages, on one thread of the CPU.

    python benchmarks/benchmark_ema_kernel.py

Needs a C compiler (`cc`). The kernel reads the weights once for the guard, and once for all averages together; a distance
is one pass with float64 sums. It is not part of the package: docs/ema.md says why.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from array import array
from pathlib import Path

import torch
from benchmark_ema import DECAY, Layers, print_table
from in_turns import Action
from torch import Tensor

from depthdif.ema import ModuleAverages

SOURCE = r"""
#include <math.h>
#include <stddef.h>
#include <stdint.h>

int all_finite(size_t tensors, const uint32_t *const *weights, const size_t *sizes) {
    uint32_t largest = 0;
    for (size_t t = 0; t < tensors; t++)
        for (size_t i = 0; i < sizes[t]; i++) {
            uint32_t exponent = weights[t][i] & 0x7f800000u;
            largest = exponent > largest ? exponent : largest;
        }
    return largest != 0x7f800000u;
}

static void one(float *restrict a, const float *restrict w, const float *r, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] += r[0] * (w[i] - a[i]);
}

static void three(float *restrict a, float *restrict b, float *restrict c, const float *restrict w, const float *r,
                  size_t n) {
    for (size_t i = 0; i < n; i++) {
        a[i] += r[0] * (w[i] - a[i]);
        b[i] += r[1] * (w[i] - b[i]);
        c[i] += r[2] * (w[i] - c[i]);
    }
}

void update(size_t tensors, size_t averages, float *const *a, const float *const *w, const float *r, const size_t *n) {
    for (size_t t = 0; t < tensors; t++)
        if (averages == 1) one(a[t], w[t], r, n[t]);
        else three(a[t], a[tensors + t], a[2 * tensors + t], w[t], r, n[t]);
}

static void distance(const float *restrict a, const float *restrict w, size_t n, double *restrict out) {
    double sums[3][16] = {{0}};
    float largest[16] = {0};
    for (size_t i = 0; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 16; j++) {
            float delta = fabsf(a[i + j] - w[i + j]);
            double wide = delta, raw = w[i + j];
            sums[0][j] += wide;
            sums[1][j] += wide * wide;
            sums[2][j] += raw * raw;
            largest[j] = delta > largest[j] ? delta : largest[j];
        }
    for (size_t j = 0; j < 16; j++) {
        for (size_t s = 0; s < 3; s++) out[s] += sums[s][j];
        out[3] = largest[j] > out[3] ? largest[j] : out[3];
    }
}

void distances(size_t tensors, const float *const *a, const float *const *w, const size_t *n, double *out) {
    for (size_t t = 0; t < tensors; t++) distance(a[t], w[t], n[t], out);
}
"""


def compiled() -> ctypes.CDLL:
    """The kernel, for this CPU."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernel.c"), Path(folder, "kernel.so")
        source.write_text(SOURCE)
        options = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run(["cc", *options, str(source), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


def pointers(tensors: list[Tensor]) -> array[int]:
    """Addresses of the first elements."""
    return array("Q", [tensor.data_ptr() for tensor in tensors])


def updates(kernel: ctypes.CDLL, module: Layers) -> dict[str, Action]:
    """One update each, by name, with the limits first."""
    weights = [parameter.data for parameter in module.parameters()]
    sizes = array("Q", [tensor.numel() for tensor in weights])
    flat, flat_average = torch.cat(weights), torch.cat(weights)
    candidates: dict[str, Action] = {
        "limit: one flat lerp_": lambda: flat_average.lerp_(flat, 1 - DECAY),
        "limit of the guard: one flat read": lambda: torch.dot(flat, flat),
    }
    for number in (1, 3):
        decays = [DECAY, 0.99, 0.9][:number]
        shadows = [tensor.clone() for _ in decays for tensor in weights]
        rates = array("f", [1 - decay for decay in decays])
        for guard in (False, True):

            def fused(
                shadows: list[Tensor] = shadows, rates: array[float] = rates, guard: bool = guard
            ) -> None:
                current, averages = pointers(weights), pointers(shadows)
                at = [ctypes.c_void_p(a.buffer_info()[0]) for a in (averages, current, rates, sizes)]
                count = ctypes.c_size_t(len(weights))
                if not guard or kernel.all_finite(count, at[1], at[3]):
                    kernel.update(count, ctypes.c_size_t(len(rates)), *at)

            what = f"{number} average{'s'[: number - 1]}, {'with' if guard else 'without'} the guard"
            candidates[f"depthdif: {what}"] = ModuleAverages(module, decays, guard=guard).update
            candidates[f"C kernel: {what}"] = fused
    return candidates


def distances(kernel: ctypes.CDLL, module: Layers) -> dict[str, Action]:
    """All distances between the weights and their average, by name."""
    averages = ModuleAverages(module, [DECAY])
    weights = [parameter.data for parameter in module.parameters()]
    shadows = list(averages.state(DECAY).values())
    sizes = array("Q", [tensor.numel() for tensor in weights])
    flat = torch.cat(weights)
    other = flat + 1e-3

    def fused() -> list[float]:
        out = array("d", [0.0] * 4)
        arrays = (pointers(shadows), pointers(weights), sizes, out)
        kernel.distances(
            ctypes.c_size_t(len(weights)), *(ctypes.c_void_p(a.buffer_info()[0]) for a in arrays)
        )
        return list(out)

    return {
        "limit: one read of both copies": lambda: torch.dot(flat, other).item(),
        "depthdif: distances": lambda: averages.distance(DECAY),
        "C kernel: distances": fused,
    }


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kernel, module, device = compiled(), Layers(), torch.device("cpu")
    print_table("update", updates(kernel, module), device)
    print_table("distances", distances(kernel, module), device)


if __name__ == "__main__":
    main()
