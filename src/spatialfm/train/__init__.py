"""Training: pretrain, fine-tune and distil encoders on one's own images."""

from __future__ import annotations
