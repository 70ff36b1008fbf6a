"""The engine: where to look (windows), what the model gives (encoder), how that becomes one row per cell (pooling)."""

from __future__ import annotations
