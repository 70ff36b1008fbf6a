"""Cells that a network finds: logits of whole images, objects of them tile by tile, and what each of them is."""
