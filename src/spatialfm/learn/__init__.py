"""What is fitted on arrays: probes, clusterings, networks for bags of cells, survival learners, nested evaluation."""
