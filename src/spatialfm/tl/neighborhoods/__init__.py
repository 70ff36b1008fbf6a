"""Who lives next to whom: compositions around cells, niches, enrichment, contrasts."""
