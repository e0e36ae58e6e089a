"""Parts for mmdet's detectors; this package and what its users name from it are all that imports mmdet."""
