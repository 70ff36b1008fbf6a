"""Cohorts whose truth is known, and what the package says of them: one file a subject, each with a list ``CASES``."""
