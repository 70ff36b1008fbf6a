"""One HTML file of what a SpatialData or an AnnData holds: read, drawn, and explained."""
