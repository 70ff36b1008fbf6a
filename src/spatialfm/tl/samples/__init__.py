"""Samples and patients as rows: their compositions, shifts, and what distinguishes them."""
