"""What the benchmark programs share: peers' packages, pinned servers, load, interleaved rounds, results."""
