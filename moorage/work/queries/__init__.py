"""Looking at stacks; changes nothing."""
