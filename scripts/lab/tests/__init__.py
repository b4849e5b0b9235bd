"""Tests of the lab's own instruments, and of the engine through them."""
