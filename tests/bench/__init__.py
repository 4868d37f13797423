"""The benchmarks: `python tests/bench` runs them, `--help` says what there is."""
