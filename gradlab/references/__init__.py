"""References: trustworthy cotangents with their own standard error."""
