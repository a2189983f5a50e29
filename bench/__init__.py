"""Measurements of Polka, as ratios within a run: `make bench` runs the measurements and writes bench/RESULTS.md."""
