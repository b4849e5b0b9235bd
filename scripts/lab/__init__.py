"""Foreshift's lab: two sites in network namespaces, real traffic, real faults, honest measurement."""
