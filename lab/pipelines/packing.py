"""
Linear layers in oneDNN's packed format, for float32 on a CPU.

Two gains over `torch.nn.Linear`: a batch of 2 to 16 rows takes less time, since nothing is repacked
at each call (`docs/benchmarks.md` has the figures); and a row's result has the same bits whatever
the number of rows, so an answer does not depend on its neighbours. What a call costs whatever its
size weighs on a single row, so layers that read the same input share one product.

Shape letters: B rows, I inputs, O outputs.
"""

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

ROWS_HINT = 32
"""Rows for which oneDNN chooses the format; measured best from 1 to 242."""

JOINT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of transformers' models that read the same input, in the order in which they do."""


class PackedLinear(nn.Module):
    """
    What a linear layer computes, from packed weights.

    Parameters
    ----------
    linear : nn.Linear
        The layer to replace; float32 on a CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(
            linear.weight.detach(), ROWS_HINT
        )
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        output: Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs, self.weight, self.bias, "none", [], ""
        )
        return output


class JointLinear:
    """
    Linear layers that read the same input, as one product.

    Parameters
    ----------
    linears : sequence of nn.Linear
        The layers to replace, in the order in which they are called; all with a bias, or none.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        first = linears[0]
        self.sizes = [linear.out_features for linear in linears]
        joined = nn.Linear(first.in_features, sum(self.sizes), bias=False)
        joined.weight = nn.Parameter(torch.cat([x.weight for x in linears]), requires_grad=False)
        if first.bias is not None:
            joined.bias = nn.Parameter(torch.cat([x.bias for x in linears]), requires_grad=False)
        self._packed = PackedLinear(joined)
        self._inputs: Tensor | None = None
        self._outputs: Sequence[Tensor] = ()

    def part(self, place: int, inputs: Tensor) -> Tensor:
        """Return what the layer at that place computes; the product is kept until the last."""
        if inputs is not self._inputs:
            self._inputs, self._outputs = inputs, self._packed(inputs).split(self.sizes, dim=-1)
        output = self._outputs[place]
        if place == len(self.sizes) - 1:
            self._inputs, self._outputs = None, ()
        return output


class PartLinear(nn.Module):
    """One layer's part of a joint product."""

    def __init__(self, joint: JointLinear, place: int) -> None:
        super().__init__()
        self._joint, self._place = joint, place

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return self._joint.part(self._place, inputs)


def pack_linears(network: nn.Module) -> int:
    """Replace the linear layers that gain by it; return how many."""
    if not torch.backends.mkldnn.is_available():
        return 0
    packable = {name: module for name, module in network.named_modules() if is_packable(module)}
    for name in {name.rpartition(".")[0] for name in packable}:
        parent = network.get_submodule(name)
        for names in JOINT:
            join(parent, names)
    for name in packable:
        module = network.get_submodule(name)
        if isinstance(module, nn.Linear):
            network.set_submodule(name, PackedLinear(module))
    return len(packable)


def is_packable(module: object) -> TypeGuard[nn.Linear]:
    """Return True for a plain linear layer in float32 on a CPU."""
    return (
        type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
    )


def join(parent: nn.Module, names: Sequence[str]) -> None:
    """Join the layers of those names where the parent has them and they fit each other."""
    linears = [linear for name in names if is_packable(linear := getattr(parent, name, None))]
    kinds = {(linear.in_features, linear.bias is None) for linear in linears}
    if len(linears) < len(names) or len(kinds) > 1:
        return
    joint = JointLinear(linears)
    for place, name in enumerate(names):
        setattr(parent, name, PartLinear(joint, place))
