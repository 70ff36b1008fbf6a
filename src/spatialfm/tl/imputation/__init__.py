"""What was not stained: reconstructed pixels, imputed markers, and how far they can be trusted."""
