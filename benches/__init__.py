"""What `scripts/bench` is made of: see README.md in this folder."""
