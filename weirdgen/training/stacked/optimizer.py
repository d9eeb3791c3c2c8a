"""Updates of stacked training: each training run's weights are one parameter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from weirdgen.training.checkpointing import Files
from weirdgen.training.stacked.layers import Stack
from weirdgen.training.trl import TrainSpec, sft_config

_STATE, _OPTIMIZER = "state.safetensors", "optimizer."


class StackedOptimizer:
    """TRL's optimizer and schedule for N training runs, and their loss curves."""

    def __init__(self, specs: Sequence[TrainSpec], stacked: Stack, total: int) -> None:
        """`total`: the number of updates."""
        from transformers import Trainer, get_scheduler

        self._flat, settings = stacked.flat_NP, specs[0].settings
        assert self._flat.grad is not None
        args = sft_config(specs[0], Path("unused"), use_cpu=not self._flat.is_cuda)
        kind, how = Trainer.get_optimizer_cls_and_kwargs(args)
        groups = []
        for spec, line, grad in zip(specs, self._flat.data, self._flat.grad, strict=True):
            adapter = torch.nn.Parameter(line)
            adapter.grad = grad
            groups.append({"params": [adapter], "lr": spec.settings.learning_rate})
        self._optimizer = kind(groups, **how, weight_decay=settings.weight_decay)
        warmup = args.get_warmup_steps(total)
        self._schedule = get_scheduler(settings.scheduler, self._optimizer, warmup, total)
        self._most_norm, self._in_epoch = args.max_grad_norm, total // settings.epochs
        self._steps: list[tuple[torch.Tensor, Sequence[float]]] = []
        """Losses and gradient norms (2 x N) and the learning rates of each update."""

    def __call__(self, loss_N: torch.Tensor) -> None:
        """One update with the current gradient; `loss_N` are its losses."""
        flat = self._flat
        assert flat.grad is not None
        norm_N = flat.grad.float().norm(dim=1)
        flat.grad *= (self._most_norm / (norm_N + 1e-6)).clamp(max=1.0)[:, None].to(flat.dtype)
        self._note(torch.stack([loss_N, norm_N]))
        self._optimizer.step()
        self._schedule.step()

    def _note(self, both_2N: torch.Tensor) -> None:
        rates: Any = self._schedule.get_last_lr()
        self._steps.append((both_2N, rates))

    def states(self) -> Iterator[Files]:
        """The state that decides the rest of each training run, which draws no random numbers."""
        of_optimizer = self._optimizer.state_dict()["state"]
        curve_2NU = torch.stack([both_2N for both_2N, _ in self._steps], dim=2).cpu()
        for n, weights in enumerate(self._flat.data):
            tensors = {_OPTIMIZER + key: value for key, value in of_optimizer[n].items()}
            tensors |= {"weights": weights, "curve": curve_2NU[:, n]}
            yield {_STATE: save({key: x.cpu().contiguous() for key, x in tensors.items()})}

    def load(self, states: Sequence[Files]) -> None:
        """Continue from what `states` returned. Weights keep their addresses, which CUDA graphs use."""
        states_N = [load(files[_STATE]) for files in states]
        for weights, state in zip(self._flat.data, states_N, strict=True):
            weights.copy_(state["weights"])
        groups = self._optimizer.state_dict()["param_groups"]
        of_optimizer = {
            n: {
                key.removeprefix(_OPTIMIZER): value
                for key, value in state.items()
                if key.startswith(_OPTIMIZER)
            }
            for n, state in enumerate(states_N)
        }
        self._optimizer.load_state_dict({"state": of_optimizer, "param_groups": groups})
        curve_2NU = torch.stack([state["curve"] for state in states_N], dim=1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for both_2N in curve_2NU.to(self._flat.device).unbind(2):
                self._note(both_2N)
                self._schedule.step()

    def curves(self) -> list[list[dict[str, float]]]:
        """The loss curve of each training run."""
        curves: list[list[dict[str, float]]] = [[] for _ in self._flat]
        for done, (both_2N, rates) in enumerate(self._steps, start=1):
            for curve, loss, norm, rate in zip(curves, *both_2N.tolist(), rates, strict=True):
                step = {"step": done, "epoch": done / self._in_epoch, "loss": loss}
                curve.append(step | {"learning_rate": rate, "grad_norm": norm})
        return curves
