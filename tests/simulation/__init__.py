"""Error rates of the decision rules on synthetic worlds and on real score tables. Seeded; one process."""
