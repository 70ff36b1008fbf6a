"""Phenotypes that tell patients apart: found, scored, and carried to other cohorts."""
