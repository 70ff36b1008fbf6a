"""Phenotypes that distinguish patients: found, scored, and carried to other cohorts."""
