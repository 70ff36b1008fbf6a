"""Who lives beside whom: compositions around cells, niches, enrichment, contrasts."""
