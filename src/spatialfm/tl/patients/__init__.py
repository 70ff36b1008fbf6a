"""Groups of patients: how they are made, what they are at risk of, how many a study needs."""
