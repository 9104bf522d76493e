"""Losses and metrics against the heads: `kbuild.plan.losses`, which the lint reads too, under its name in training."""

from __future__ import annotations

from kbuild.plan.losses import Target, output_activation, resolve_losses, resolve_metrics

__all__ = ["Target", "output_activation", "resolve_losses", "resolve_metrics"]
