"""What a map is worth: accuracy against a truth, and what a classifier without context would reach."""
