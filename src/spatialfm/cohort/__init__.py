"""From AnnData to what statistics need: patients, outcomes, cases, designs, representations; checked once."""
