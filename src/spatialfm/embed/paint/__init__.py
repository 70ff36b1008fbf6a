"""Whole images as a decoder predicts them: tiles, written into an image that stays on disk."""
