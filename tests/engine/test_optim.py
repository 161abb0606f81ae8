from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from rung.engine.optim import Optimizer, OptimizerConfig
from rung.errors import CheckpointError

CONFIG = OptimizerConfig(learning_rate=0.01, weight_decay=0.1)


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (17, 5), "bias": (17,), "norm.weight": (5,), "unused": (2, 2)}
    return {name: Parameter(torch.randn(shape, generator=generator).to(dtype)) for name, shape in shapes.items()}


def backward(named: dict[str, Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    used = [parameter for name, parameter in named.items() if name != "unused"]
    sum((p * torch.randn(p.shape, generator=generator).to(p.dtype)).sum() for p in used).backward()  # type: ignore[union-attr]


def steps(named: dict[str, Parameter], optimizer: Optimizer, seeds: range) -> None:
    for seed in seeds:
        backward(named, seed)
        optimizer.clip(1.0)
        optimizer.step(0.01)
        optimizer.zero_grad()


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}


def test_fp32_equals_torch_adamw_with_decay_on_matrices_only() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = Optimizer(ours, CONFIG)
    matrices, vectors = [theirs["weight"], theirs["unused"]], [theirs["bias"], theirs["norm.weight"]]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, fused=True)
    for seed in range(5):
        for named in (ours, theirs):
            backward(named, seed)
        optimizer.step(0.01)
        optimizer.zero_grad()
        reference.step()
        reference.zero_grad()
    assert bits(dict(ours)) == bits(dict(theirs))


def test_bf16_moves_an_fp32_master_and_its_copy_follows() -> None:
    named = parameters(torch.bfloat16)
    before = {name: parameter.detach().float().clone() for name, parameter in named.items()}
    optimizer = Optimizer(named, CONFIG)
    assert bits(optimizer.master()) == bits(before)
    for seed in range(3):
        backward(named, seed)
        # Far below bf16's spacing around 1: only the master can add these up.
        optimizer.step(1e-5)
        optimizer.zero_grad()
    master = optimizer.master()
    assert master["weight"].dtype == torch.float32
    assert (master["weight"] != before["weight"]).float().mean() > 0.5
    assert bits(dict(named)) == bits({name: tensor.bfloat16() for name, tensor in master.items()})


def test_bf16_gradients_of_micro_batches_are_added_in_fp32() -> None:
    named = {"weight": Parameter(torch.zeros(3, 3, dtype=torch.bfloat16))}
    optimizer = Optimizer(named, CONFIG)
    for value in (256.0, 1.0, 1.0):
        (named["weight"] * value).sum().backward()
    assert named["weight"].grad is None
    assert optimizer.gradients()["weight"].tolist() == [[258.0] * 3] * 3
    optimizer.zero_grad()
    assert optimizer.gradients() == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_optimizer_goes_on_to_the_bit(dtype: torch.dtype) -> None:
    whole = parameters(dtype)
    uncut = Optimizer(whole, CONFIG)
    steps(whole, uncut, range(4))
    saved_weights = {name: tensor.clone() for name, tensor in uncut.master().items()}
    saved_state = {name: tensor.clone() for name, tensor in uncut.state().items()}
    steps(whole, uncut, range(4, 9))

    resumed = parameters(dtype)
    optimizer = Optimizer(resumed, CONFIG)
    optimizer.load_master(saved_weights)
    optimizer.load_state(saved_state)
    assert bits(optimizer.state()) == bits(saved_state)
    steps(resumed, optimizer, range(4, 9))
    assert bits(optimizer.master()) == bits(uncut.master())
    assert bits(optimizer.state()) == bits(uncut.state())
    assert bits(dict(resumed)) == bits(dict(whole))


def test_state_names_the_moments_and_counts_of_what_was_stepped() -> None:
    named = parameters()
    optimizer = Optimizer(named, CONFIG)
    assert optimizer.state() == {}
    steps(named, optimizer, range(2))
    stepped = ("weight", "bias", "norm.weight")
    assert set(optimizer.state()) == {
        f"{name}.{slot}" for name in stepped for slot in ("exp_avg", "exp_avg_sq", "step")
    }
    assert optimizer.state()["bias.step"].item() == 2


def test_clip_returns_the_norm_before_and_bounds_it_after() -> None:
    named = {"a": Parameter(torch.zeros(2, 2)), "b": Parameter(torch.zeros(1, dtype=torch.bfloat16))}
    optimizer = Optimizer(named, CONFIG)
    assert optimizer.clip(1.0) == 0.0
    ((named["a"] * torch.tensor([[2.0, 0.0], [0.0, 0.0]])).sum() + (named["b"] * 1.5).sum()).backward()
    assert optimizer.clip(0.0) == 2.5
    assert optimizer.clip(3.0) == 2.5
    assert optimizer.gradients()["a"][0, 0] == 2.0
    assert optimizer.clip(1.0) == 2.5
    assert optimizer.clip(0.0) == pytest.approx(1.0, rel=1e-5)


def test_a_gradient_that_is_not_finite_shows_in_the_norm_and_is_not_spread() -> None:
    named = {"a": Parameter(torch.zeros(2)), "b": Parameter(torch.zeros(2))}
    optimizer = Optimizer(named, CONFIG)
    (named["a"].sum() * float("inf") + named["b"].sum()).backward()
    assert optimizer.clip(1.0) == float("inf")
    assert optimizer.gradients()["b"].tolist() == [1.0, 1.0]


def test_another_methods_checkpoint_is_refused_by_name_and_shape() -> None:
    named = parameters()
    optimizer = Optimizer(named, CONFIG)
    steps(named, optimizer, range(1))
    weights, state = optimizer.master(), optimizer.state()
    with pytest.raises(CheckpointError, match=r"saved weights don't fit this run: 1 missing \['bias'\], 1 not trained"):
        optimizer.load_master({name.replace("bias", "lora"): tensor for name, tensor in weights.items() if name})
    with pytest.raises(CheckpointError, match=r"1 missing \['bias\.step'\], 0 not trained"):
        optimizer.load_state({name: tensor for name, tensor in state.items() if name != "bias.step"})
    with pytest.raises(
        CheckpointError, match=r"bias was saved as torch.float32 \(3,\), this run has torch.float32 \(17,\)"
    ):
        optimizer.load_master(weights | {"bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"bias\.exp_avg was saved as"):
        optimizer.load_state(state | {"bias.exp_avg": torch.zeros(3)})


def test_masters_go_on_from_the_weights_as_they_were_before_they_were_rounded() -> None:
    exact = torch.linspace(-1, 1, 64)
    copy = Parameter(exact.bfloat16())
    optimizer = Optimizer({"w": copy}, OptimizerConfig(learning_rate=1e-5), {"w": exact.clone()})
    assert torch.equal(optimizer.master()["w"], exact)
    copy.float().sum().backward()
    optimizer.step(1e-5)
    moved = optimizer.master()["w"]
    assert torch.allclose(moved, exact - 1e-5, atol=1e-8)
    assert torch.equal(copy.detach(), moved.bfloat16())


@pytest.mark.parametrize("tight", [False, True])
def test_a_sparse_gradient_steps_as_a_dense_one_does(tight: bool) -> None:
    """Step after step, with rows that come and go, and with clipping."""
    steps = [[1, 3, 3], [0], [5, 1, 1, 1], [2, 3]]
    found = []
    for sparse in (False, True):
        generator = torch.Generator().manual_seed(0)
        table = Parameter(torch.randn(6, 4, generator=generator).bfloat16())
        optimizer = Optimizer({"table": table}, OptimizerConfig(learning_rate=0.1))
        norms = []
        for rows in steps:
            for part in (rows[:2], rows[2:]):
                if part:
                    picked = torch.nn.functional.embedding(torch.tensor(part), table, sparse=sparse)
                    picked.float().square().sum().backward()
            norms.append(optimizer.clip(0.5 if tight else 1e9))
            optimizer.step(0.1)
            optimizer.zero_grad()
        found.append((optimizer.master()["table"].clone(), torch.tensor(norms), optimizer.state()["table.exp_avg"]))
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-2, atol=1e-3)


def test_single_parameters_may_have_a_rate_of_their_own() -> None:
    weights = {name: torch.nn.Parameter(torch.ones(3, 2)) for name in ("slow", "fast")}
    optimizer = Optimizer(weights, OptimizerConfig(learning_rate=0.1), rates={"fast": 4.0})
    for value in weights.values():
        value.grad = torch.ones(3, 2)
    optimizer.step(0.01)
    # Adam's first step is the learning rate itself, whatever the gradient.
    torch.testing.assert_close(1 - weights["slow"], torch.full((3, 2), 0.01))
    torch.testing.assert_close(1 - weights["fast"], torch.full((3, 2), 0.04))
