"""Samples and patients as rows: their compositions, shifts, and what they are told apart by."""
