"""The engine: where to look (windows), what the model says (encoder), how that becomes one row a cell (pooling)."""

from __future__ import annotations
