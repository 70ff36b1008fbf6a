"""Objectives of training, one file each."""

from __future__ import annotations
