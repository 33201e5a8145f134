"""Study files that travel with lamsearch, runnable by bare name: ``lamsearch run noisy-digits``."""
