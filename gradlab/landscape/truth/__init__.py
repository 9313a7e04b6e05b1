"""The critic's landscape beside the true one."""
