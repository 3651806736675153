"""Muon for a CPU: momentum with orthogonal steps, in float32 and for all matrices of a shape at once.

`torch.optim.Muon` orthogonalises one matrix after another in bfloat16, which a CPU without bfloat16
arithmetic does forty times slower.

References
----------
Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, n_steps: int = 5) -> Tensor:
    """Move the singular values of matrices towards 1 by Newton-Schulz iteration.

    Parameters
    ----------
    matrices : Tensor of shape (N, rows, columns)
        At most as many rows as columns.
    n_steps : int
        Iterations.

    Returns
    -------
    Tensor of shape (N, rows, columns)
    """
    a, b, c = _QUINTIC
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(n_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Orthogonal steps for the matrices of hidden layers.

    Parameters
    ----------
    matrices : iterable of Tensor of shape (rows, columns)
        What to train.
    lr : float
        Length of a step.
    momentum : float
        Of Nesterov's kind.
    weight_decay : float
        Decoupled, as in AdamW.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Make one step along the gradients."""
        for group in self.param_groups:
            shapes = sorted({tuple(sorted(p.shape)) for p in group["params"]})
            for shape in shapes:
                self._step_shape(
                    [p for p in group["params"] if tuple(sorted(p.shape)) == shape], group
                )

    def _step_shape(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        directions = [self._direction(p, group["momentum"]) for p in matrices]
        wide = torch.stack([d if d.shape[0] <= d.shape[1] else d.mT for d in directions])
        for p, step in zip(matrices, orthogonalize(wide), strict=True):
            scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(step if p.shape[0] <= p.shape[1] else step.mT, alpha=-group["lr"] * scale)

    def _direction(self, p: Tensor, momentum: float) -> Tensor:
        if p.grad is None:
            raise ValueError(
                f"A matrix of shape {tuple(p.shape)} has no gradient; call backward() first."
            )
        buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)
