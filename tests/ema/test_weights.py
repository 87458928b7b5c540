"""The averages of a module against the plain ones, and the exchange of weights."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from depthdif.ema import EMA, ModuleAverages, averaged


class Mixed(nn.Module):
    """Every kind of tensor that a state dict may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.double_weight = nn.Parameter(torch.randn(4, dtype=torch.float64))
        self.half_weight = nn.Parameter(torch.randn(5).half())
        self.brain_weight = nn.Parameter(torch.randn(5).bfloat16())
        self.complex_weight = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.image_weight = nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
        self.register_buffer("running", torch.randn(3))
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("flag", torch.tensor([True]))
        self.register_buffer("hidden", torch.randn(2), persistent=False)
        self.register_parameter("nothing", None)

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state["version"] == 1


def perturb(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.add_(torch.randn(tensor.shape, generator=generator).to(tensor.dtype))
            elif tensor.dtype != torch.bool:
                tensor.add_(1)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    state = module.state_dict()
    return {key: value.detach().clone() for key, value in state.items() if isinstance(value, Tensor)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@given(decay=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.999]), steps=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_the_fast_averages_equal_the_plain_ones(decay: float, steps: int) -> None:
    module = Mixed()
    fast, plain = ModuleAverages(module, [decay]), EMA(decay)
    plain.register(tensors(module))
    for step in range(steps):
        perturb(module, step)
        fast.update()
        plain.update(tensors(module))
    state = fast.state(decay)
    assert state.keys() == plain.shadow_params.keys()
    for key, tensor in state.items():
        assert tensor.dtype == plain.shadow_params[key].dtype
        assert torch.allclose(tensor, plain.shadow_params[key], rtol=1e-5, atol=1e-6), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_shadow_of_half_precision_weights_moves_by_steps_of_1e_minus_4(dtype: torch.dtype) -> None:
    module = nn.Linear(2, 2).to(dtype)  # OpenNMT-py#1294
    averages = ModuleAverages(module, [0.9999])
    nn.init.zeros_(module.weight)
    nn.init.ones_(module.bias)
    averages.seed()
    nn.init.ones_(module.weight)
    for _ in range(100):
        averages.update()
    assert averages.state(0.9999)["weight"].dtype == torch.float32
    assert averages.state(0.9999)["weight"][0, 0].item() == pytest.approx(1 - 0.9999**100, rel=1e-4)
    with averaged(module):
        assert module.weight.dtype == dtype
        assert module.weight[0, 0].item() == pytest.approx(0.00995, rel=1e-2)


def test_constant_weights_stay_exactly_what_they_are_for_20000_updates() -> None:
    module = nn.Linear(8, 8)
    averages = ModuleAverages(module, [0.999, 0.3])
    for _ in range(20_000):
        averages.update()
    assert same(averages.state(0.999), tensors(module))
    assert same(averages.state(0.3), tensors(module))


def test_an_update_with_one_nan_is_skipped_as_a_whole_and_the_next_is_made() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    averages = ModuleAverages(module, [0.5])
    before = {key: value.clone() for key, value in averages.state(0.5).items()}
    good = tensors(module)
    perturb(module, 0)
    module[1].bias.data[2] = torch.nan
    averages.update()
    assert averages.skipped_updates == 1
    assert same(averages.state(0.5), before)
    module.load_state_dict({key: value + 1 for key, value in good.items()})
    averages.update()
    assert torch.allclose(averages.state(0.5)["1.bias"], good["1.bias"] + 0.5)


@pytest.mark.parametrize("decays", [[0.9], [0.9, 0.99]])
def test_a_device_that_decides_itself_skips_all_tensors_of_an_update(
    decays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthdif.ema.weights.DECIDING_DEVICES", ("cuda", "cpu"))
    module = Mixed()
    averages = ModuleAverages(module, decays)
    perturb(module, 0)
    averages.update()
    before = {decay: {key: t.clone() for key, t in averages.state(decay).items()} for decay in decays}
    good = tensors(module)
    perturb(module, 1)
    module.flag.logical_not_()
    module.linear.bias.data[0] = torch.nan
    averages.update()
    assert averages.known_skips == 0  # it is the device that counts
    assert averages.skipped_updates == 1
    for decay in decays:
        assert same(averages.state(decay), before[decay])
    module.load_state_dict(
        {key: tensor + 1 if tensor.dtype != torch.bool else tensor for key, tensor in good.items()},
        strict=False,
    )
    averages.update()
    assert averages.skipped_updates == 1
    assert averages.state(decays[0])["steps"] == good["steps"] + 1
    assert not torch.equal(averages.state(decays[0])["linear.bias"], before[decays[0]]["linear.bias"])


def test_the_seed_waits_for_finite_weights() -> None:
    module = nn.Linear(2, 2)
    averages = ModuleAverages(module, [0.5])
    module.bias.data[0] = torch.inf
    assert not averages.seed()
    module.bias.data[0] = 7
    assert averages.seed()
    assert averages.state(0.5)["bias"][0] == 7


# Exchange.


def test_the_exchange_moves_pointers_and_restores_exactly_the_raw_weights() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    averages = ModuleAverages(module, [0.5])
    perturb(module, 0)
    averages.update()
    raw, pointers = tensors(module), [parameter.data_ptr() for parameter in module.parameters()]
    shadows = [averages.state(0.5)[name].data_ptr() for name, _ in module.named_parameters()]
    objects = list(module.parameters())
    with averaged(module):
        assert [parameter.data_ptr() for parameter in module.parameters()] == shadows
        assert same(tensors(module), averages.state(0.5))
        assert averages.active == 0.5
    assert averages.active is None
    assert [parameter.data_ptr() for parameter in module.parameters()] == pointers
    assert all(one is other for one, other in zip(module.parameters(), objects, strict=True))
    assert same(tensors(module), raw)


def test_contexts_nest_in_any_order() -> None:
    module = Mixed()
    averages = ModuleAverages(module, [0.5, 0.9])
    perturb(module, 0)
    averages.update()
    expected = {None: tensors(module)}
    for decay in (0.5, 0.9):
        with averaged(module, decay):
            expected[decay] = tensors(module)
    orders: list[list[float | None]] = [[0.5, None, 0.9, 0.5], [None, None], [0.9, 0.9, None, 0.5]]

    def enter(rest: list[float | None]) -> None:
        if rest:
            before = tensors(module)
            with averages.holding(rest[0]):
                assert same(tensors(module), expected[rest[0]])
                enter(rest[1:])
                assert same(tensors(module), expected[rest[0]])
            assert same(tensors(module), before)

    for order in orders:
        enter(order)
    assert same(tensors(module), expected[None])


def test_a_buffer_whose_average_is_nan_does_not_count_as_written_by_the_module() -> None:
    module = nn.BatchNorm1d(3)
    averages = ModuleAverages(module, [0.5])
    averages.load(0.5, {"running_var": torch.tensor([1.0, torch.nan, 2.0])})
    raw = tensors(module)
    with averaged(module):
        assert module.running_var[1].isnan()
    assert same(tensors(module), raw)


def test_a_nan_that_the_module_writes_into_a_buffer_stays() -> None:
    module = nn.BatchNorm1d(3)
    ModuleAverages(module, [0.5])
    with averaged(module):
        module.running_var[1] = torch.nan
    assert module.running_var[1].isnan()


def test_an_exception_inside_restores_the_raw_weights() -> None:
    module = nn.Linear(2, 2)
    averages = ModuleAverages(module, [0.5])
    perturb(module, 0)
    averages.update()
    raw = tensors(module)
    with pytest.raises(ZeroDivisionError), averaged(module):
        _ = 1 / 0
    assert same(tensors(module), raw)


def test_weights_exchanged_in_inference_mode_can_be_trained_and_averaged_afterwards() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).bfloat16()
    averages = ModuleAverages(module, [0.5])
    perturb(module, 0)
    averages.update()
    with torch.inference_mode(), averaged(module):
        module.eval()(torch.zeros(1, 2, dtype=torch.bfloat16))
    module.train()
    module(torch.randn(3, 2, dtype=torch.bfloat16)).sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    with torch.inference_mode():
        averages.update()
    averages.update()
    assert not any(tensor.is_inference() for tensor in averages.state(0.5).values())
    assert not any(tensor.is_inference() for tensor in [*module.parameters(), *module.buffers()])


def test_an_optimizer_goes_on_as_if_nothing_had_happened() -> None:
    def train(exchanged: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        optimizer = torch.optim.AdamW(module.parameters(), 0.1, fused=True)
        averages = ModuleAverages(module, [0.5])
        for step in range(6):
            module(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().sum().backward()
            if exchanged:
                with averaged(module):
                    pass
            if step % 2:
                optimizer.step()
                optimizer.zero_grad()
                averages.update()
        return tensors(module)

    assert same(train(exchanged=True), train(exchanged=False))


# Memory and devices.


def test_an_average_takes_exactly_the_bytes_of_the_tensors_and_an_exchange_none() -> None:
    module = nn.Sequential(*[nn.Linear(256, 256) for _ in range(8)])
    expected = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())

    def allocated(action: Any) -> int:
        with torch.profiler.profile(profile_memory=True) as profile:
            kept = action()
        del kept
        return sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())

    held: list[ModuleAverages] = []
    size = allocated(lambda: held.append(ModuleAverages(module, [0.99])))
    assert expected <= size <= 1.01 * expected

    def exchange() -> None:
        with averaged(module):
            pass

    perturb(module, 0)
    assert allocated(exchange) < 0.01 * expected
    tracemalloc.start()
    for _ in range(5):
        exchange()
        held[0].update()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 0.05 * expected


def test_averages_follow_the_module_to_another_device() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))  # neural-lam#739
    averages = ModuleAverages(module, [0.5, 0.9], guard=False)
    module.to("meta")
    averages.update()
    for decay in (0.5, 0.9):
        assert {tensor.device.type for tensor in averages.state(decay).values()} == {"meta"}


def test_averages_go_with_their_module_and_are_none_of_its_state() -> None:
    module = nn.Linear(2, 2)
    attributes = set(vars(module))
    averages = weakref.ref(ModuleAverages(module, [0.5]))
    assert averages() is not None
    assert set(vars(module)) == attributes
    del module
    gc.collect()
    assert averages() is None


# Keys.


def test_keys_are_those_of_the_plain_module_whatever_wraps_it() -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    plain = list(inner.state_dict())
    compiled = torch.compile(inner, backend="eager")
    parallel = nn.DataParallel(inner)
    partly = nn.Sequential(torch.compile(nn.Linear(2, 2), backend="eager"), nn.Linear(2, 2))
    for module in (inner, compiled, parallel, nn.DataParallel(compiled), partly):
        assert list(ModuleAverages(module, [0.5]).state(0.5)) == plain
        with averaged(module):
            pass


def test_a_module_that_is_called_module_keeps_its_name() -> None:
    outer = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert list(ModuleAverages(outer, [0.5]).state(0.5)) == ["module.weight", "module.bias"]


def test_shared_modules_and_tied_parameters_are_averaged_once_under_all_their_keys() -> None:
    shared = nn.Linear(2, 2, bias=False)
    module = nn.ModuleList([shared, shared, nn.Linear(2, 2, bias=False)])
    module[2].weight = shared.weight
    averages = ModuleAverages(module, [0.5])
    state = averages.state(0.5)
    assert list(state) == ["0.weight", "1.weight", "2.weight"]
    assert state["0.weight"] is state["1.weight"] is state["2.weight"]
    before = shared.weight.detach().clone()
    perturb(shared, 0)
    averages.update()
    assert torch.allclose(state["0.weight"], (before + shared.weight) / 2)


def test_averages_are_loaded_in_place_and_missing_keys_are_returned() -> None:
    module = nn.Linear(2, 2)
    averages = ModuleAverages(module, [0.5])
    assert averages.load(0.5, {"weight": torch.zeros(2, 2), "unknown": torch.zeros(1)}) == ["bias"]
    assert averages.state(0.5)["weight"].abs().sum() == 0


def test_a_module_without_averages_raises() -> None:
    with pytest.raises(ValueError, match="this Linear has no averages"):
        averaged(nn.Linear(1, 1))
    module = nn.Linear(1, 1)
    averages = ModuleAverages(module, [0.5])
    with pytest.raises(ValueError, match=r"no average with decay 0.9; tracked: 0.5"):
        averages.holding(0.9)


def test_parameters_without_a_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="'weight' has no shape yet; run one forward pass"):
        ModuleAverages(nn.LazyLinear(2), [0.5])


def test_shards_that_hide_their_tensors_are_refused() -> None:
    module = nn.Sequential(nn.Linear(1, 1))
    module[0].weight.ds_id = 0
    with pytest.raises(ValueError, match=r"'0\.' is sharded by FSDP1 or DeepSpeed ZeRO-3"):
        ModuleAverages(module, [0.5])
