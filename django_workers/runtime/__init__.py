"""What runs: launcher, supervisor, children, and the rooms they are built from."""
