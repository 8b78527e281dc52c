"""Small sites that the benchmarks serve, so that each measures one thing."""
