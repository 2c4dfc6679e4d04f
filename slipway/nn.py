"""Modules for models of your own whose randomness is the same under any plan."""

from __future__ import annotations

from slipway.training.common.keyed_dropout import Dropout

__all__ = ["Dropout"]
