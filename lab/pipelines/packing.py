"""
Linear layers in oneDNN's packed format, for float32 on a CPU.

Two gains over `torch.nn.Linear`: a batch of 2 to 16 rows takes less time, since nothing is repacked
at each call (`docs/benchmarks.md` has the figures); and a row's result has the same bits whatever
the number of rows, so an answer does not depend on its neighbours.

Shape letters: B rows, I inputs, O outputs.
"""

from typing import TypeGuard

import torch
from torch import Tensor, nn

ROWS_HINT = 32
"""Rows for which oneDNN chooses the format; measured best from 1 to 242."""


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
        # Its overload, which is looked for at each call otherwise.
        self._linear = torch.ops.mkldnn._linear_pointwise.default

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        output: Tensor = self._linear(inputs, self.weight, self.bias, "none", [], "")
        return output


def pack_linears(network: nn.Module) -> int:
    """Replace the linear layers that gain by it; return how many."""
    packable = [(name, linear) for name, linear in network.named_modules() if is_packable(linear)]
    for name, linear in packable:
        network.set_submodule(name, PackedLinear(linear))
    return len(packable)


def is_packable(module: object) -> TypeGuard[nn.Linear]:
    """Return True for a plain linear layer where layers are packed."""
    return type(module) is nn.Linear and packs(module.weight.device, module.weight.dtype)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Return True for float32 on a CPU where oneDNN is."""
    return torch.backends.mkldnn.is_available() and device.type == "cpu" and dtype == torch.float32
