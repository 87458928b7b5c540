"""Speed of the averages against the limit of memory and against other implementations, on the CPU and on CUDA.

    python benchmarks/benchmark_ema.py

Prints one table a device for a module of 61.9 M parameters in 332 float32 tensors. The limit of an update is one flat
`lerp_` of the same size, that of a distance one read of both copies. Traffic is the least that a candidate must read and
write, in units of that `lerp_`: weights once for the guard, once for all updates, every average once in and once out.
All candidates take turns in every round, so that a slow moment of the machine meets all of them alike; the table shows
medians over the rounds. Peers that are not installed are left out (`pip install "depthdif[peers]"`).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from in_turns import Action, measure
from torch import nn

from depthdif.ema import ModuleAverages, averaged

ROUNDS = 15
DECAY = 0.999
PARAMETERS = 61_900_000
LAYERS = 166


class Layers(nn.Module):
    """Weights and biases of 166 layers with sizes as in a U-Net: 332 tensors, from 64 to 1.2 M elements."""

    def __init__(self) -> None:
        super().__init__()
        widths = [64, 128, 256, 512]
        pairs = [(widths[i % 4], widths[(i // 4) % 4]) for i in range(LAYERS)]
        scale = PARAMETERS / sum(9 * wide * deep for wide, deep in pairs)
        sizes = [size for wide, deep in pairs for size in (int(9 * scale * wide * deep), wide)]
        self.weights = nn.ParameterList(torch.randn(size) * 0.02 for size in sizes)


def updates(module: Layers) -> dict[str, Action]:
    """One update each, by name; every candidate keeps an average of its own."""
    parameters = [parameter.data for parameter in module.parameters()]
    flat, flat_average = torch.cat(parameters), torch.cat(parameters)
    shadows = [parameter.clone() for parameter in parameters]
    candidates: dict[str, Action] = {
        "limit: one flat lerp_": lambda: flat_average.lerp_(flat, 1 - DECAY),
        "limit of the guard: one flat read": lambda: torch.dot(flat, flat),
        "torch._foreach_lerp_": lambda: torch._foreach_lerp_(shadows, parameters, 1 - DECAY),
    }
    for number in (1, 2, 3):
        for guard in (False, True):
            decays = [DECAY, 0.99, 0.9][:number]
            averages = ModuleAverages(module, decays, guard=guard)
            what = f"{number} average{'s'[: number - 1]}, {'with' if guard else 'without'} the guard"
            traffic = (guard + 1 + 2 * number) / 3
            candidates[f"depthdif: {what} (traffic {traffic:.2f})"] = averages.update
    return candidates | {name: update for name, (update, _) in peers(module).items()}


def exchanges(module: Layers) -> dict[str, Action]:
    """Averages into the module and out again, by name."""
    averages = ModuleAverages(module, [DECAY])

    def exchange() -> ModuleAverages:
        with averaged(module):
            return averages

    swaps = {name: swap for name, (_, swap) in peers(module).items() if swap is not None}
    return {"depthdif: swap in and out": exchange, **swaps}


def distances(module: Layers) -> dict[str, Action]:
    """All distances between the weights and their average, by name."""
    flat = torch.cat([parameter.data for parameter in module.parameters()])
    other = flat + 1e-3
    averages = ModuleAverages(module, [DECAY])
    return {
        "limit: one read of both copies": lambda: torch.dot(flat, other).item(),
        "depthdif: distances": lambda: averages.distance(DECAY),
    }


def peers(module: Layers) -> dict[str, tuple[Action, Action | None]]:
    """Update and swap of the other implementations that are installed."""
    found: dict[str, tuple[Action, Action | None]] = {}
    parameters = list(module.parameters())
    if find_spec("pytorch_lightning"):
        from pytorch_lightning.callbacks import EMAWeightAveraging
        from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

        callback: Any = EMAWeightAveraging(decay=DECAY)
        average = AveragedModel(module, use_buffers=True, avg_fn=get_ema_avg_fn(DECAY))
        callback._average_model = average
        swap_twice = lambda: (callback._swap_models(module), callback._swap_models(module))  # noqa: E731
        found["Lightning EMAWeightAveraging"] = (lambda: average.update_parameters(module), swap_twice)
    if find_spec("diffusers"):
        from diffusers.training_utils import EMAModel

        for foreach in (False, True):
            model = EMAModel(parameters, decay=DECAY, foreach=foreach)
            found[f"diffusers EMAModel, foreach {'on' if foreach else 'off'}"] = (
                lambda model=model: model.step(parameters),
                lambda model=model: (
                    model.store(parameters),
                    model.copy_to(parameters),
                    model.restore(parameters),
                ),
            )
    if find_spec("ema_pytorch"):
        from ema_pytorch import EMA

        ema = EMA(module, beta=DECAY, update_every=1, update_after_step=0)
        found["ema-pytorch"] = (ema.update, None)
    if find_spec("torch_ema"):
        from torch_ema import ExponentialMovingAverage

        torch_ema = ExponentialMovingAverage(parameters, decay=DECAY)

        def store_and_restore() -> None:
            with torch_ema.average_parameters():
                pass

        found["torch-ema"] = (torch_ema.update, store_and_restore)
    return found


def launches(action: Action) -> int:
    """Kernels that one call starts on the GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        action()
        torch.cuda.synchronize()
    return sum("memcpy" not in event.name.lower() for event in profile.events())


def print_table(title: str, candidates: dict[str, Action], device: torch.device) -> None:
    """A Markdown table: milliseconds, ratio to the first row, and on CUDA the launches of one call."""
    on_cuda = device.type == "cuda"
    print(f"\n| {title} | ms | ratio |{' launches |' if on_cuda else ''}")
    print(f"| --- | ---: | ---: |{' ---: |' if on_cuda else ''}")
    for name, (time_taken, ratio) in measure(candidates, device, ROUNDS).items():
        more = f" {launches(candidates[name])} |" if on_cuda else ""
        print(f"| {name} | {time_taken:.2f} | {ratio:.2f} |{more}")


def main() -> None:
    """Print the tables of every device of the machine."""
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    for device in devices:
        torch.manual_seed(0)
        module = Layers().to(device)
        count = sum(parameter.numel() for parameter in module.parameters())
        what = (
            f"{torch.get_num_threads()} threads"
            if device.type == "cpu"
            else torch.cuda.get_device_name(device)
        )
        print(
            f"\n{device.type}: {what}, {count / 1e6:.1f} M parameters in {2 * LAYERS} tensors, PyTorch {torch.__version__}"
        )
        print_table("update", updates(module), device)
        print_table("swap in and out", exchanges(module), device)
        print_table("distances", distances(module), device)
    if len(devices) == 1:
        print("\ncuda: no device, not measured")


if __name__ == "__main__":
    main()
