from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from depthdif import UserError
from depthdif.build import build_data, build_module
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.noise import BLOCK, noise_of_cells
from depthdif.diffusion.tiles import TiledDenoiser, TiledRegion, Tiles

HEIGHT, WIDTH, SIZE, MEMBERS = 24, 72, (24, 24), 96


class Smoother(nn.Module):
    """Predicts a smooth field; beyond the edge of what it is given it sees zeros, as the convolutions of a U-Net do."""

    def forward(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        distance = torch.arange(-3.0, 4.0)
        kernel = torch.exp(-distance.square() / 4)
        kernel = (kernel[:, None] * kernel) / kernel.sum() ** 2
        return functional.conv2d(noisy, kernel[None, None], padding=3)


def whole_region(width: int, members: int = 1) -> dict[str, Tensor]:
    """The data contract of a region of ocean without any observation."""
    cells = torch.zeros(1, 1, HEIGHT, width)
    return {
        "ocean_mask": torch.ones_like(cells, dtype=torch.bool),
        "observed_mask": torch.zeros_like(cells, dtype=torch.bool),
        "latitude": torch.arange(HEIGHT, dtype=torch.float32)[None],
        "longitude": torch.arange(width, dtype=torch.float32)[None],
        "coordinates": torch.tensor([[HEIGHT / 2, width / 2]]),
        "index": torch.zeros(1, dtype=torch.int64),
    }


def region_of(tiles: Tiles, at_once: int = 400) -> TiledRegion:
    return TiledRegion(tiles, at_once, np.arange(tiles.height), np.arange(tiles.width))


def chain(module: DiffusionModule, denoiser: Any, width: int, seed: int) -> Tensor:
    """(MEMBERS, H, W) samples of a region without observations."""
    batch = whole_region(width)
    noise = torch.randn(MEMBERS, 1, HEIGHT, width, generator=torch.Generator().manual_seed(seed))
    known = torch.zeros(1, 1, HEIGHT, width)
    sampler = module.sampler
    sampler.ensemble_size, sampler.antithetic = MEMBERS, False
    return sampler(denoiser, module.noise_schedule, known, batch, lambda member, step: noise[member])[0, :, 0]


@pytest.fixture
def module(small_run: Callable[..., DictConfig]) -> DiffusionModule:
    cfg = small_run("model.sampler.steps=10")
    return build_module(cfg, build_data(cfg)).eval()


@pytest.fixture
def fused(module: DiffusionModule) -> Tensor:
    tiles = Tiles(HEIGHT, WIDTH, SIZE)
    return chain(module, TiledDenoiser(Smoother(), region_of(tiles), dict), WIDTH, seed=0)


@pytest.fixture
def separate(module: DiffusionModule) -> dict[int, Tensor]:
    """Samples of each tile by its first column, from noise of its own."""
    columns = [corner.column for corner in Tiles(HEIGHT, WIDTH, SIZE).weights]
    return {column: chain(module, Smoother(), SIZE[1], seed=1 + column) for column in columns}


def ratio(inside: Tensor, elsewhere: Tensor) -> tuple[float, float]:
    """95 % interval of the mean of `inside` (members, n) over that of `elsewhere`, by resampling the members."""
    inside, elsewhere = inside.mean(dim=1), elsewhere.mean(dim=1)
    generator = np.random.default_rng(0)
    draws = torch.from_numpy(generator.integers(0, MEMBERS, (500, MEMBERS)))
    ratios = inside[draws].mean(dim=1) / elsewhere[draws].mean(dim=1)
    low, high = torch.quantile(ratios, torch.tensor([0.025, 0.975])).tolist()
    return low, high


def jumps(samples: Tensor, borders: list[int]) -> tuple[float, float]:
    """Mean squared difference of neighbouring columns across the `borders`, relative to that of all others."""
    squares = samples.diff(dim=2).square().mean(dim=1)
    # The rims of the region see zeros beyond it in any case.
    inner = torch.zeros(squares.shape[1], dtype=torch.bool)
    inner[12:-12] = True
    across = torch.zeros_like(inner)
    across[[border - 1 for border in borders]] = True
    return ratio(squares[:, across & inner], squares[:, inner & ~across])


def test_across_the_borders_of_fused_tiles_the_field_jumps_no_more_than_inside(
    module: DiffusionModule, fused: Tensor, separate: dict[int, Tensor]
) -> None:
    starts = [corner.column for corner in Tiles(HEIGHT, WIDTH, SIZE).weights]
    borders = sorted({*starts[1:], *(start + SIZE[1] for start in starts[:-1])})
    low, high = jumps(fused, borders)
    assert low < 1 < high < 1.2
    # As the chain of the whole region in one call, from the same noise: zeros beyond a tile reach no further than its margin.
    whole = chain(module, Smoother(), WIDTH, seed=0)
    torch.testing.assert_close(fused, whole, atol=1e-3, rtol=0)
    # Tiles that are only put beside each other fail the same test.
    beside = torch.cat([separate[start] for start in range(0, WIDTH, SIZE[1])], dim=2)
    low, _ = jumps(beside, list(range(SIZE[1], WIDTH, SIZE[1])))
    assert low > 2


def test_members_vary_as_much_where_fused_tiles_overlap_but_less_where_separate_ones_are_blended(
    fused: Tensor, separate: dict[int, Tensor]
) -> None:
    tiles = Tiles(HEIGHT, WIDTH, SIZE)
    blended = torch.zeros(MEMBERS, HEIGHT, WIDTH)
    share = torch.zeros(WIDTH)
    for corner, weight in tiles.weights.items():
        tiles.add(blended, separate[corner.column] * weight, corner)
        columns = slice(corner.column, corner.column + SIZE[1])
        share[columns] = torch.maximum(share[columns], weight[0])
    # Where two tiles count nearly alike, and where one counts for more than 9 tenths; away from the rims of the region.
    inner = torch.zeros(WIDTH, dtype=torch.bool)
    inner[6:-6] = True
    middle, alone = inner & (share < 0.7), inner & (share > 0.9)
    # Of two independent fields with weights 0.63 and 0.37 the variance is 0.63^2 + 0.37^2 = 0.53.
    for samples, expected in ((fused, 1.0), (blended, 0.53)):
        squares = samples[:, 6:-6].square().mean(dim=1)
        low, high = ratio(squares[:, middle], squares[:, alone])
        assert expected - 0.15 < low < expected < high < expected + 0.15


@given(
    length=st.integers(1, 90),
    other=st.integers(1, 40),
    size=st.integers(1, 40),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    wraps=st.booleans(),
)
def test_the_weights_of_each_cell_add_up_to_one(
    length: int, other: int, size: int, overlap: float, wraps: bool
) -> None:
    tiles = Tiles(other, length, (size, size), overlap, wraps)
    total, count = torch.zeros(other, length), torch.zeros(other, length)
    for corner, weight in tiles.weights.items():
        tiles.add(total, weight, corner)
        tiles.add(count, torch.ones_like(weight), corner)
        assert (weight > 0).all()
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)
    assert (total[count == 1] == 1).all()


@given(st.integers(1, 60), st.integers(1, 30), st.booleans())
def test_what_is_cut_and_added_again_lies_where_it_was(width: int, size: int, wraps: bool) -> None:
    tiles = Tiles(3, width, (2, size), 0.5, wraps)
    field = torch.arange(3.0 * width).view(3, width)
    total = torch.zeros_like(field)
    for corner, weight in tiles.weights.items():
        tiles.add(total, tiles.cut(field, corner) * weight, corner)
    torch.testing.assert_close(total, field)


def test_the_prediction_of_a_denoiser_that_sees_single_cells_is_not_changed_by_tiles() -> None:
    tiles = Tiles(HEIGHT, WIDTH, (10, 16), wraps=True, period=72.0)
    noisy = torch.randn(2, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    batch = {name: tensor.expand(2, *tensor.shape[1:]) for name, tensor in whole_region(WIDTH).items()}

    def pointwise(noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        assert noisy.shape[-2:] == (10, 16)
        assert (batch["longitude"].diff(dim=1) > 0).all()
        place = batch["latitude"][:, None, :, None] + torch.sin(
            torch.deg2rad(batch["longitude"] * 5)[:, None, None]
        )
        return 0.5 * noisy + place

    whole = 0.5 * noisy + batch["latitude"][:, None, :, None]
    whole = whole + torch.sin(torch.deg2rad(batch["longitude"] * 5)[:, None, None])
    tiled = TiledDenoiser(pointwise, region_of(tiles, at_once=7), dict)
    torch.testing.assert_close(tiled(noisy, torch.tensor(3), batch), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("antithetic", [False, True])
def test_a_tile_as_large_as_the_region_gives_the_plain_chain_bit_for_bit(
    small_run: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, antithetic: bool
) -> None:
    cfg = small_run("model.sampler.ensemble_size=2", f"model.sampler.antithetic={antithetic}")
    data = build_data(cfg)
    module = build_module(cfg, data).eval()
    with torch.no_grad():
        for name, parameter in module.denoiser.named_parameters():
            if "conv_out" in name:
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    batch = data.collate([data.validation_samples()[0]])
    rows, columns = np.arange(40, 56), np.arange(104, 120)
    region = TiledRegion(Tiles(16, 16, (99, 99)), 8, rows, columns)
    tiled = module.reconstruct(batch, region)
    assert tiled.std() > 0
    day, depths = int(batch["time"]), batch["observations"].shape[1]
    leaders = [0, 0 if antithetic else 1]
    noise = [noise_of_cells(depths, rows, columns, [0, leader, 0], day) for leader in leaders]
    monkeypatch.setattr(module.sampler, "initial_noise", lambda like, generators: torch.stack(noise))
    assert torch.equal(tiled, module.reconstruct(batch))


def test_each_member_of_an_ambient_model_keeps_its_columns_across_the_tiles_of_a_region(
    small_run: Callable[..., DictConfig],
) -> None:
    cfg = small_run(
        "model/objective=ambient", "model.objective.sampled_columns=0.3", "model.sampler.ensemble_size=3"
    )
    data = build_data(cfg)
    module = build_module(cfg, data).eval()
    batch = data.collate([data.validation_samples()[0]])
    seen: list[dict[str, Tensor]] = []

    def network(noisy: Tensor, timestep: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        seen.append(dict(conditions))
        assert (noisy[~conditions["noised_mask"]] == 0).all()
        return torch.zeros_like(noisy)

    module.denoiser.forward = network  # type: ignore[method-assign]
    region = TiledRegion(Tiles(16, 16, (12, 12)), 3, np.arange(16), np.arange(16))
    module.reconstruct(batch, region)
    tiles = len(region.tiles.weights)
    masks = torch.zeros(3, *batch["ocean_mask"].shape[1:], dtype=torch.bool)
    for corner, conditions in zip(region.tiles.weights, seen[:tiles], strict=True):
        for member, mask in zip(masks, conditions["noised_mask"], strict=True):
            rows, columns = slice(corner.row, corner.row + 12), slice(corner.column, corner.column + 12)
            member[:, rows, columns] |= mask
    for corner, first, later in zip(region.tiles.weights, seen[:tiles], seen[tiles:], strict=True):
        cells = (
            slice(None),
            slice(None),
            slice(corner.row, corner.row + 12),
            slice(corner.column, corner.column + 12),
        )
        assert torch.equal(first["noised_mask"], masks[cells])
        assert torch.equal(later["noised_mask"], masks[cells])
    hidden = batch["ocean_mask"][0] & ~batch["observed_mask"][0]
    assert not (masks & ~hidden).any()
    assert not torch.equal(masks[0], masks[1])
    assert 0.1 < masks.sum() / (3 * hidden.sum()) < 0.5


@pytest.mark.parametrize("efolding", [None, 20.0])
@pytest.mark.parametrize("day", [-7, 17_000])
def test_a_region_cut_out_of_a_larger_one_starts_from_the_same_noise(
    day: int, efolding: float | None
) -> None:
    rows, columns = np.arange(60), np.arange(100)
    whole = noise_of_cells(3, rows, columns, [0, 1], day, efolding)
    part = noise_of_cells(3, rows[7:45], columns[20:81], [0, 1], day, efolding)
    assert torch.equal(part, whole[:, 7:45, 20:81])
    around = np.concatenate([columns[90:], columns[:30]])
    assert torch.equal(noise_of_cells(3, rows, around, [0, 1], day, efolding), whole[:, :, around])
    for identity, other_day in (([1, 1], day), ([0, 2], day), ([0, 1], day + 1)):
        other = noise_of_cells(3, rows, columns, identity, other_day, efolding)
        assert not torch.isclose(other, whole).any(dim=0).all()
    # Independent of another member, whatever the day.
    other = noise_of_cells(3, rows, columns, [0, 2], day, efolding)
    assert abs(float((other * whole).mean())) < 5 / whole.numel() ** 0.5


@pytest.mark.parametrize("efolding", [None, 20.0])
def test_noise_of_cells_is_standard_and_white_across_its_blocks(efolding: float | None) -> None:
    noise = noise_of_cells(8, np.arange(160), np.arange(160), [0, 0], 9, efolding)
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 / count**0.5
    assert abs(float(noise.var()) - 1) < 5 * (2 / count) ** 0.5
    across = (noise[:, :, BLOCK - 1 :: BLOCK][..., :-1] * noise[:, :, BLOCK::BLOCK]).flatten()
    assert abs(float(across.mean())) < 5 / len(across) ** 0.5


def sampled(
    module: DiffusionModule, tiles: Tiles, columns: Any, batch: dict[str, Tensor], **options: Any
) -> Tensor:
    """(E, H, W) samples of a region of a grid, by a denoiser that sees single cells, from the noise of these cells."""

    def pointwise(noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return 0.5 * noisy + torch.sin(torch.deg2rad(batch["longitude"] * 5)[:, None, None])

    region = TiledRegion(tiles, 3, np.arange(HEIGHT), columns)
    sampler = dataclasses.replace(module.sampler, ensemble_size=2, antithetic=False, **options)
    known = batch["ocean_mask"] * 3.0 * batch["observed_mask"]
    noise = functools.partial(module.noise_of_region, region, 17_000, 1)
    denoiser = TiledDenoiser(pointwise, region, dict)
    return sampler(denoiser, module.noise_schedule, known, batch, noise)[0, :, 0]


def test_a_wrapping_region_may_start_at_any_column(module: DiffusionModule) -> None:
    tiles = Tiles(HEIGHT, WIDTH, (10, 16), wraps=True, period=72.0)
    columns, batch = np.arange(WIDTH), whole_region(WIDTH)
    samples = sampled(module, tiles, columns, batch)
    turned = {**batch, "longitude": batch["longitude"] + 29}
    rotated = sampled(module, tiles, (columns + 29) % WIDTH, turned)
    torch.testing.assert_close(rotated, samples.roll(-29, dims=2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
def test_a_region_cut_out_of_a_larger_one_has_the_same_samples(
    module: DiffusionModule, algorithm: str
) -> None:
    scheduler = functools.partial(DPMSolverMultistepScheduler.from_config, algorithm_type=algorithm)
    batch = whole_region(WIDTH)
    samples = sampled(module, Tiles(HEIGHT, WIDTH, (10, 16)), np.arange(WIDTH), batch, scheduler=scheduler)
    part = {**whole_region(40), "longitude": batch["longitude"][:, 20:60]}
    cut = sampled(module, Tiles(HEIGHT, 40, (10, 16)), np.arange(20, 60), part, scheduler=scheduler)
    torch.testing.assert_close(cut, samples[:, :, 20:60], atol=1e-4, rtol=0)


def test_noise_that_a_scheduler_draws_for_a_whole_region_is_refused(module: DiffusionModule) -> None:
    with pytest.raises(UserError, match="set model/sampler=dpm_solver_sde"):
        sampled(
            module,
            Tiles(HEIGHT, WIDTH, SIZE),
            np.arange(WIDTH),
            whole_region(WIDTH),
            scheduler=DDPMScheduler.from_config,
        )


def test_observations_are_clamped_across_tiles(module: DiffusionModule) -> None:
    batch = whole_region(WIDTH)
    batch["observed_mask"][..., ::5, ::7] = True
    samples = sampled(
        module, Tiles(HEIGHT, WIDTH, (10, 16)), np.arange(WIDTH), batch, clamp_observations=True
    )
    observed = batch["observed_mask"][0].expand(2, -1, -1)
    assert (samples[observed] == 3).all()
    assert not (samples[~observed] == 3).any()


@pytest.mark.parametrize("at_once", [1, 3, 5, 20])
def test_a_call_of_the_network_has_at_most_patches_at_once_samples_and_none_of_land(at_once: int) -> None:
    tiles = Tiles(HEIGHT, WIDTH, (8, 12))
    batch = whole_region(WIDTH)
    batch["ocean_mask"][..., : WIDTH // 2] = False
    noisy = torch.randn(5, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    calls = []

    def denoiser(noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        assert batch["ocean_mask"].any(dim=(1, 2, 3)).all()
        assert all(len(tensor) == len(noisy) for tensor in batch.values())
        calls.append(len(noisy))
        return noisy + batch["longitude"][:, None, None]

    tiled = TiledDenoiser(denoiser, region_of(tiles, at_once), dict)(noisy, torch.tensor(3), batch)
    assert max(calls) <= at_once
    assert sum(calls) == 5 * sum(corner.column + 12 > WIDTH // 2 for corner in tiles.weights)
    ocean = slice(WIDTH // 2 + 6, WIDTH)
    expected = (noisy + batch["longitude"][:, None, None])[..., ocean]
    torch.testing.assert_close(tiled[..., ocean], expected, atol=1e-4, rtol=0)


def test_a_tile_stays_on_the_device_of_its_region() -> None:
    tiles = Tiles(HEIGHT, WIDTH, (10, 16), wraps=True)
    batch = {name: tensor.to("meta") for name, tensor in whole_region(WIDTH).items()}
    for corner in tiles.weights:
        assert {tensor.device.type for tensor in tiles.batch(batch, corner).values()} == {"meta"}


def test_no_tile_at_once_is_refused() -> None:
    with pytest.raises(UserError, match="such as patches_at_once=8"):
        region_of(Tiles(10, 10, (4, 4)), at_once=0)


def test_an_overlap_of_a_whole_tile_is_refused() -> None:
    with pytest.raises(UserError, match=r"such as overlap=0\.5"):
        Tiles(10, 10, (4, 4), overlap=1.0)
